'use strict';
// Runs the model beside the page, which stays awake meanwhile. Stands after
// onnxruntime-web and preprocess.js in one script.

let session = null;
let info = null;

async function load(message) {
  info = message.info;
  const glue = new Blob([message.glue], {type: 'text/javascript'});
  ort.env.wasm.wasmBinary = message.wasm;
  ort.env.wasm.wasmPaths = {mjs: URL.createObjectURL(glue)};
  // More threads need headers that a file or a plain server does not send.
  ort.env.wasm.numThreads = 1;
  session = await ort.InferenceSession.create(message.model, {
    executionProviders: ['wasm'],
    logSeverityLevel: 3,
  });
}

async function detect({pixels, width, height}) {
  const start = performance.now();
  const rgba = new Uint8ClampedArray(pixels);
  const input = prepareInput(rgba, width, height, info.preprocess);
  const type = info.preprocess.inside ? 'uint8' : 'float32';
  const images = new ort.Tensor(type, input.data, input.dims);
  const ready = performance.now();
  const feeds = {images};
  if (info.takes_sizes) {
    const [toWidth, toHeight] = input.size.map(BigInt);
    feeds.sizes = new ort.Tensor(
      'int64', BigInt64Array.of(toHeight, toWidth), [1, 2],
    );
  }
  const {boxes, scores, labels} = await session.run(feeds);
  const end = performance.now();
  return {
    found: detections(
      boxes.data, scores.data, labels.data, input.size, width, height,
      info.min_bbox_size,
    ),
    prepareMs: ready - start,
    runMs: end - ready,
  };
}

self.onmessage = async ({data}) => {
  try {
    const result = data.kind === 'load' ? await load(data) : await detect(data);
    self.postMessage({id: data.id, result});
  } catch (error) {
    self.postMessage({id: data.id, error: String((error && error.message) || error)});
  }
};
