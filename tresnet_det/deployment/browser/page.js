'use strict';
// The page: takes images, shows what the worker finds in them.

const element = (id) => document.getElementById(id);
const WAYS = 'Use a current Chrome, Edge, Firefox or Safari.';
let worker = null;
let shown = null; // {bitmap, name, found} of the last image
let running = 0; // number of the last image that was taken

document.title = `Detector: ${INFO.name}`;
document.querySelector('h1').textContent = document.title;
element('finds').textContent = `Finds: ${INFO.classes.join(', ')}.`;
element('about').textContent =
  `Model ${INFO.name}, ${INFO.precision}, ${(INFO.bytes / 2 ** 20).toFixed(1)} MiB. ` +
  `Runs on onnxruntime-web ${INFO.onnxruntime_web} (Microsoft, MIT licence).`;
if (INFO.finds_masks) {
  element('finds').textContent += ' This page draws boxes only; the model finds masks too.';
}

function tell(text) {
  element('status').textContent = text;
}

function tellError(text) {
  element('error').textContent = text;
  element('error').hidden = !text;
}

// Pieces are scripts: a page opened from a disk may read no other files.
let take = null;
function PIECE(text) {
  take(text);
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function loadPiece(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    const fail = () =>
      reject(new Error(
        `The file ${path} is missing or damaged beside this page: copy the whole ` +
          'folder again.',
      ));
    let bytes = null;
    take = (text) => { bytes = bytesOf(text); };
    script.onload = () => {
      script.remove();
      if (bytes) resolve(bytes); else fail();
    };
    script.onerror = fail;
    script.src = path;
    document.head.append(script);
  });
}

async function loadParts() {
  const total = Object.values(INFO.parts).reduce((sum, part) => sum + part.bytes, 0);
  const parts = {};
  let done = 0;
  for (const [name, {bytes, pieces}] of Object.entries(INFO.parts)) {
    const whole = new Uint8Array(bytes);
    let offset = 0;
    for (const path of pieces) {
      const piece = await loadPiece(path);
      whole.set(piece, offset);
      offset += piece.length;
      done += piece.length;
      element('progress').value = done / total;
    }
    parts[name] = whole;
  }
  return parts;
}

let asked = 0;
const waiting = new Map();
function ask(message, transfer) {
  return new Promise((resolve, reject) => {
    const id = ++asked;
    waiting.set(id, {resolve, reject});
    worker.postMessage({...message, id}, transfer);
  });
}

function startWorker(source) {
  worker = new Worker(
    URL.createObjectURL(new Blob([source], {type: 'text/javascript'})),
  );
  worker.onmessage = ({data}) => {
    const {resolve, reject} = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error === undefined) resolve(data.result);
    else reject(new Error(data.error));
  };
  worker.onerror = (event) => {
    for (const {reject} of waiting.values()) {
      reject(new Error(event.message || 'the worker stopped'));
    }
    waiting.clear();
  };
}

async function start() {
  if (typeof WebAssembly !== 'object' || typeof Worker !== 'function') {
    throw new Error(`This browser cannot run the model. ${WAYS}`);
  }
  const {worker: source, glue, wasm, model} = await loadParts();
  tell('Starting the model …');
  startWorker(source);
  try {
    await ask({kind: 'load', glue, wasm, model, info: INFO}, [wasm.buffer, model.buffer]);
  } catch (error) {
    throw new Error(`The model does not start in this browser: ${error.message}. ${WAYS}`);
  }
  element('progress').hidden = true;
  element('file').disabled = false;
  tell('Ready. Choose an image.');
}

// Pixels as they stand in the file, turned as the camera says.
async function decode(file) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
  } catch {
    throw new Error(
      `${file.name || 'This'} cannot be read as an image. Choose a JPEG, PNG, WebP or ` +
        'BMP file.',
    );
  }
}

function pixelsOf(bitmap) {
  const canvas = document.createElement('canvas');
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  try {
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer;
  } catch {
    throw new Error(
      `The image has ${bitmap.width}x${bitmap.height} pixels, too many for this ` +
        'browser. Make it smaller first.',
    );
  }
}

async function findIn(file) {
  const number = ++running;
  tellError('');
  tell(`Detecting in ${file.name || 'the image'} …`);
  try {
    const bitmap = await decode(file);
    const pixels = pixelsOf(bitmap);
    const {width, height} = bitmap;
    const result = await ask({kind: 'detect', pixels, width, height}, [pixels]);
    if (number !== running) return; // another image came meanwhile
    shown = {bitmap, name: file.name || 'image', ...result};
    show();
  } catch (error) {
    if (number !== running) return;
    shown = null;
    element('result').hidden = true;
    tell('');
    tellError(error.message);
  }
}

function milliseconds(time) {
  return `${time.toFixed(0)}\u00a0ms`; // in one line
}

function colour(label, lightness) {
  return `hsl(${(label * 137.5 + 210) % 360} 85% ${lightness}%)`;
}

function draw(found) {
  const canvas = element('picture');
  const {bitmap} = shown;
  const room = canvas.parentElement.clientWidth;
  const tallest = Math.max(0.75 * window.innerHeight, 240);
  const scale = Math.min(
    room / bitmap.width, tallest / bitmap.height, Math.max(4, 320 / bitmap.width),
  );
  const dots = window.devicePixelRatio || 1;
  canvas.style.width = `${Math.max(bitmap.width * scale, 1)}px`;
  canvas.width = Math.max(Math.round(bitmap.width * scale * dots), 1);
  canvas.height = Math.max(Math.round(bitmap.height * scale * dots), 1);
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  context.scale(dots, dots);
  context.font = '12px system-ui, sans-serif';
  context.textBaseline = 'top';
  // The best on top, and no box over a label.
  const drawn = [...found].reverse();
  context.lineWidth = 2;
  for (const {box, label} of drawn) {
    const [left, top, right, bottom] = box.map((side) => side * scale);
    context.strokeStyle = colour(label, 45);
    context.strokeRect(left, top, right - left, bottom - top);
  }
  for (const {box, score, label} of drawn) {
    const [left, top] = box.map((side) => side * scale);
    const text = `${INFO.classes[label]} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + 6;
    const x = Math.max(Math.min(left - 1, bitmap.width * scale - width), 0);
    const y = top >= 16 ? top - 16 : top;
    context.fillStyle = colour(label, 30);
    context.fillRect(x, y, width, 16);
    context.fillStyle = '#fff';
    context.fillText(text, x + 3, y + 2);
  }
}

function show() {
  const threshold = Number(element('threshold').value);
  element('threshold-value').value = threshold.toFixed(2);
  if (!shown) return;
  const found = shown.found.filter(({score}) => score >= threshold);
  const counts = new Map();
  for (const {label} of found) counts.set(label, (counts.get(label) || 0) + 1);
  const summary = [...counts]
    .map(([label, count]) => `${count} ${INFO.classes[label]}`)
    .join(', ') || nothing(threshold);
  element('result').hidden = false;
  draw(found);
  element('picture').setAttribute(
    'aria-label', `${shown.name} with boxes: ${summary}`,
  );
  element('times').textContent =
    `${shown.bitmap.width}x${shown.bitmap.height} pixels. ` +
    `Detected in ${milliseconds(shown.runMs)}, ` +
    `prepared in ${milliseconds(shown.prepareMs)}, on one core.`;
  element('caption').textContent =
    `${found.length} of ${shown.found.length} detections shown`;
  element('rows').replaceChildren(...found.map(({box, score, label}) => {
    const row = document.createElement('tr');
    const first = document.createElement('td');
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = colour(label, 45);
    first.append(swatch, INFO.classes[label]);
    row.append(first, ...[score.toFixed(3), ...box.map((side) => side.toFixed(1))].map(
      (text) => Object.assign(document.createElement('td'), {textContent: text}),
    ));
    return row;
  }));
  tell(`${shown.name}: ${summary}.`);
}

function nothing(threshold) {
  if (!shown.found.length) return 'nothing found';
  const best = Math.max(...shown.found.map(({score}) => score));
  return `nothing with a score of ${threshold.toFixed(2)} or more. The best score is ` +
    `${best.toFixed(2)}: move the slider down to see it`;
}

function takeFirst(files) {
  if (element('file').disabled) return;
  if (files && files.length) findIn(files[0]);
}

element('file').addEventListener('change', ({target}) => {
  takeFirst(target.files);
  target.value = ''; // the same file may be chosen again
});
element('threshold').addEventListener('input', show);
window.addEventListener('resize', () => shown && show());
window.addEventListener('paste', ({clipboardData}) => takeFirst(clipboardData.files));
// On the whole page: a miss would open the image in place of the page.
for (const kind of ['dragover', 'dragleave', 'drop']) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    element('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') takeFirst(event.dataTransfer.files);
  });
}

start().catch((error) => {
  element('progress').hidden = true;
  tell('');
  tellError(error.message);
});
