"""What traces, compilers and exporters make of the backbone, at other sizes.

A trace is made at one size.  At every other one it must give what the backbone
gives: odd sizes, sizes that no stride divides, the smallest, other batches.
"""

import inspect
import warnings

import pytest
import torch
import torch.fx
from torchvision.models.feature_extraction import create_feature_extractor

from tresnet_det import InPlaceABN, TResNet, UserError
from tresnet_det.models.classifier import TResNetClassifier

SMALL = dict(depths=(1, 1, 1, 1), width=8)
EXAMPLE = (2, 3, 64, 96)
SIZES = [(2, 3, 64, 96), (3, 3, 32, 32), (1, 3, 33, 47), (2, 3, 50, 62), (1, 3, 61, 38)]
NORMS = ['BN', 'InPlaceABN']


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NORMS)
def model(request):
    return build(request.param)


def build(norm, **kwargs):
    torch.manual_seed(0)
    model = TResNet(SMALL, norm_cfg=dict(type=norm), norm_eval=False, **kwargs)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
    return model.eval()


def assert_same(traced, model, sizes=SIZES, rtol=1e-5):
    for size in sizes:
        x = image(*size)
        with torch.no_grad():
            wanted, got = model(x), traced(x)
        got = list(got.values()) if isinstance(got, dict) else got
        assert len(got) == len(wanted)
        for y, want in zip(got, wanted):
            assert y.shape == want.shape
            error = (torch.as_tensor(y) - want).abs().max()
            assert error <= rtol * want.abs().max(), (size, float(error))


def test_trace_at_every_size(model):
    with warnings.catch_warnings():
        # torch names each number that a trace would keep in this way.
        warnings.simplefilter('error', torch.jit.TracerWarning)
        traced = torch.jit.trace(model, image(*EXAMPLE))
    assert_same(traced, model)


def test_trace_from_an_odd_size(model):
    assert_same(torch.jit.trace(model, image(1, 3, 45, 33)), model)


def test_classifier_traced():
    model = TResNetClassifier(SMALL, num_classes=3, norm_cfg=dict(type='BN')).eval()
    traced = torch.jit.trace(model, image(*EXAMPLE))
    assert_same(lambda x: [traced(x)], lambda x: [model(x)])


def dynamic_shapes():
    dim = torch.export.Dim.DYNAMIC
    return ({0: dim, 2: dim, 3: dim},)


NEEDS_DYNAMIC = pytest.mark.skipif(
    not hasattr(getattr(torch.export, 'Dim', None), 'DYNAMIC'),
    reason='torch.export.Dim.DYNAMIC came with torch 2.6',
)


@NEEDS_DYNAMIC
def test_export_at_every_size():
    model = build('InPlaceABN')  # in a graph all norms are the same operators
    program = torch.export.export(
        model, (image(*EXAMPLE),), dynamic_shapes=dynamic_shapes()
    )
    # torch refuses sizes that give maps of one pixel, by its own guards.
    assert_same(program.module(), model, [s for s in SIZES if min(s[2:]) > 32])


@pytest.mark.long
def test_dynamic_compiler_makes_few_graphs():
    """One graph for all sizes, but for batches and maps of one."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    model = build('InPlaceABN')
    compiled = torch.compile(model, dynamic=True, backend=backend, fullgraph=True)
    assert_same(compiled, model)
    assert len(graphs) <= 3
    torch._dynamo.reset()


@pytest.mark.parametrize(
    'dynamo', [False, pytest.param(True, marks=[NEEDS_DYNAMIC, pytest.mark.long])]
)
def test_onnx_at_every_size(dynamo, tmp_path):
    pytest.importorskip('onnx')
    runtime = pytest.importorskip('onnxruntime')
    if dynamo:
        pytest.importorskip('onnxscript')
        options = dict(
            dynamo=True, dynamic_shapes=dynamic_shapes(), external_data=False
        )
    else:
        axes = {0: 'n', 2: 'h', 3: 'w'}
        names = ['x', *(f'c{i}' for i in range(4))]
        options = dict(dynamic_axes=dict.fromkeys(names, axes))
        if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
            options['dynamo'] = False
    model, path = build('InPlaceABN'), str(tmp_path / 'model.onnx')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            model,
            (image(*EXAMPLE),),
            path,
            input_names=['x'],
            output_names=[f'c{i}' for i in range(4)],
            **options,
        )
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    assert_same(lambda x: session.run(None, {'x': x.numpy()}), model)


# torch.fx and torch.jit.script ---------------------------------------------


def test_fx_graph_is_exact(model):
    graph = torch.fx.symbolic_trace(model)
    assert_same(graph, model, rtol=0)
    with pytest.raises(ValueError, match='input has shape'):
        graph(image(1, 3, 31, 64))


def test_feature_extractor(model):
    extractor = create_feature_extractor(
        model, {f'layer{i + 1}': str(i) for i in range(4)}
    )
    assert_same(extractor, model, rtol=0)


def test_feature_extractor_trains(model):
    extractor = create_feature_extractor(model, ['layer4']).train()
    other = build('BN').train()
    grads = []
    for net in (extractor, lambda x: {'layer4': other(x)[-1]}):
        net(image(*EXAMPLE))['layer4'].square().mean().backward()
    for got, want in zip(model.parameters(), other.parameters()):
        grads.append((got.grad - want.grad).norm() <= 1e-3 * want.grad.norm() + 1e-7)
    assert all(grads)


def test_script(model, tmp_path):
    keys = model.state_dict().keys()
    scripted = torch.jit.script(model)
    assert_same(scripted, model)
    assert set(keys) <= set(scripted.state_dict())
    scripted.save(tmp_path / 'script.pt')
    assert_same(torch.jit.load(tmp_path / 'script.pt'), model)
    with pytest.raises(torch.jit.Error, match='input has shape'):
        scripted(image(1, 3, 31, 64))


def test_script_follows_train_and_eval(model):
    x, scripted = image(*EXAMPLE), torch.jit.script(model)
    evaluated = scripted(x)[-1]
    trained = scripted.train()(x)[-1]
    assert (trained - evaluated).abs().max() > 0.1
    other = build('BN').train()
    torch.testing.assert_close(trained, other(x)[-1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.bn1.running_mean, other.bn1.running_mean)


def test_classifier_scripted():
    model = TResNetClassifier(SMALL, num_classes=3, norm_cfg=dict(type='BN')).eval()
    scripted = torch.jit.script(model)
    assert_same(lambda x: [scripted(x)], lambda x: [model(x)])


def test_script_refuses_a_norm_with_an_activation():
    with pytest.raises(UserError, match='torch.jit.trace'):
        torch.jit.script(torch.nn.Sequential(InPlaceABN(4)))
    model = build('InPlaceABN')
    model.bn1 = InPlaceABN(8)
    with pytest.raises(UserError, match='torch.jit.trace'):
        torch.jit.script(model)


def test_activated_norm_in_a_trace_and_in_fx():
    norm = InPlaceABN(3).eval()
    norm.running_mean.normal_()
    x = image(1, 3, 5, 7)
    for traced in (torch.jit.trace(norm, x), torch.fx.symbolic_trace(norm)):
        assert torch.equal(traced(x[:, :, :3]), norm(x[:, :, :3]))


# torch.func and forward mode -------------------------------------------------


def loss_of(model):
    def loss(parameters, x):
        maps = torch.func.functional_call(model, parameters, (x,))
        return sum(y.square().mean() for y in maps)

    return loss


def test_gradients_of_torch_func(model):
    x = image(2, 3, 33, 47)
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    got = torch.func.grad(loss_of(model))(parameters, x)
    loss_of(model)(dict(model.named_parameters()), x).backward()
    for name, parameter in model.named_parameters():
        wanted = parameter.grad
        assert (got[name] - wanted).norm() <= 1e-4 * wanted.norm(), name
    per_image = torch.func.vmap(torch.func.grad(loss_of(model)), (None, 0))(
        parameters, x[:, None]
    )
    wanted = got['conv1.weight']
    error = per_image['conv1.weight'].mean(0) - wanted
    assert error.norm() <= 1e-4 * wanted.norm()


def test_forward_mode(model):
    model = model.double()
    x = image(1, 3, 33, 47).double()

    def f(x):
        return sum(y.square().mean() for y in model(x))

    _, forward = torch.func.jvp(f, (x,), (x,))
    _, pull = torch.func.vjp(f, x)
    (gradient,) = pull(torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(forward, (gradient * x).sum())
    with torch.autograd.forward_ad.dual_level():
        dual = f(torch.autograd.forward_ad.make_dual(x, x))
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(tangent, forward)
