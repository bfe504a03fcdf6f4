'use strict';
// From pixels to the input of the network and back, as runtime.py does it.
// Pure functions: the worker uses them, and the tests.

// Width and height after resizing, as mmcv.rescale_size has it.
function resizedSize(width, height, preprocess) {
  const [first, second] = preprocess.scale;
  if (!preprocess.keep_ratio) return [first, second];
  const factor = Math.min(
    Math.max(first, second) / Math.max(height, width),
    Math.min(first, second) / Math.min(height, width),
  );
  return [Math.floor(width * factor + 0.5), Math.floor(height * factor + 0.5)];
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
}

// Where each pixel of a line comes from, and its weights of 11 bits. OpenCV
// gives all weight to one pixel at the ends of a row, not at those of a column.
function taps(from, to, clampWeights) {
  const scale = 1 / (to / from);
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const weight = new Int32Array(2 * to);
  for (let i = 0; i < to; i++) {
    let position = Math.fround((i + 0.5) * scale - 0.5);
    let index = Math.floor(position);
    let share = Math.fround(position - index);
    if (clampWeights && (index < 0 || index >= from - 1)) {
      index = index < 0 ? 0 : from - 1;
      share = 0;
    }
    first[i] = Math.min(Math.max(index, 0), from - 1);
    second[i] = Math.min(Math.max(index + 1, 0), from - 1);
    weight[2 * i] = roundHalfEven(Math.fround(1 - share) * 2048);
    weight[2 * i + 1] = roundHalfEven(share * 2048);
  }
  return {first, second, weight};
}

// cv2.resize with INTER_LINEAR, to the last bit.
// From RGBA of width x height to RGB of toWidth x toHeight.
function resizeBilinear(rgba, width, height, toWidth, toHeight) {
  const columns = taps(width, toWidth, true);
  const rows = taps(height, toHeight, false);
  const out = new Uint8Array(3 * toWidth * toHeight);
  const lines = [new Int32Array(3 * toWidth), new Int32Array(3 * toWidth)];
  const held = [-1, -1]; // the row that each line was made from

  function line(row, other) {
    if (held[0] === row) return 0;
    if (held[1] === row) return 1;
    const slot = held[0] === other ? 1 : 0;
    const target = lines[slot];
    const start = 4 * width * row;
    for (let x = 0, o = 0; x < toWidth; x++) {
      const a = start + 4 * columns.first[x];
      const b = start + 4 * columns.second[x];
      const wa = columns.weight[2 * x];
      const wb = columns.weight[2 * x + 1];
      target[o++] = (rgba[a] * wa + rgba[b] * wb) >> 4;
      target[o++] = (rgba[a + 1] * wa + rgba[b + 1] * wb) >> 4;
      target[o++] = (rgba[a + 2] * wa + rgba[b + 2] * wb) >> 4;
    }
    held[slot] = row;
    return slot;
  }

  for (let y = 0, o = 0; y < toHeight; y++) {
    const upper = lines[line(rows.first[y], rows.second[y])];
    const lower = lines[line(rows.second[y], rows.first[y])];
    const wa = rows.weight[2 * y];
    const wb = rows.weight[2 * y + 1];
    for (let i = 0; i < 3 * toWidth; i++) {
      out[o++] = (((wa * upper[i]) >> 16) + ((wb * lower[i]) >> 16) + 2) >> 2;
    }
  }
  return out;
}

// Input of the network for one image.
// Returns {data, dims: [1, 3, H, W], size: [width, height] without padding}.
function prepareInput(rgba, width, height, preprocess) {
  const size = resizedSize(width, height, preprocess);
  const [toWidth, toHeight] = size;
  if (!toWidth || !toHeight) {
    throw new Error(
      `an image of ${width}x${height} pixels would be resized to ` +
        `${toWidth}x${toHeight}: too narrow. Cut it into pieces first`,
    );
  }
  const rgb = resizeBilinear(rgba, width, height, toWidth, toHeight);
  const divisor = preprocess.pad_size_divisor || 1;
  const padWidth = Math.ceil(toWidth / divisor) * divisor;
  const padHeight = Math.ceil(toHeight / divisor) * divisor;
  const area = padWidth * padHeight;
  const inside = preprocess.inside;
  const data = inside ? new Uint8Array(3 * area) : new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    const isRgb = preprocess.bgr_to_rgb && !inside;
    const source = isRgb ? channel : 2 - channel;
    // mean and std are in the order of the network, whatever the input's is.
    const own = inside && preprocess.bgr_to_rgb ? 2 - channel : channel;
    const mean = Math.fround(pick(preprocess.mean, own, 0));
    const std = Math.fround(pick(preprocess.std, own, 1));
    let pad = preprocess.pad_value;
    const values = inside ? new Uint8Array(256) : new Float32Array(256);
    for (let v = 0; v < 256; v++) {
      values[v] = inside ? v : Math.fround(v - mean) / std;
    }
    if (inside) {
      pad = Math.fround(mean + Math.fround(pad * std));
      pad = Math.min(Math.max(roundHalfEven(pad), 0), 255);
    }
    const plane = data.subarray(channel * area, (channel + 1) * area).fill(pad);
    for (let y = 0; y < toHeight; y++) {
      let from = 3 * toWidth * y + source;
      for (let x = 0, to = padWidth * y; x < toWidth; x++, to++, from += 3) {
        plane[to] = values[rgb[from]];
      }
    }
  }
  return {data, dims: [1, 3, padHeight, padWidth], size};
}

function pick(values, index, otherwise) {
  if (!values || !values.length) return otherwise;
  return values.length === 1 ? values[0] : values[index];
}

// Rows in use, boxes clipped and scaled to the image.
// Returns [{box: [left, top, right, bottom], score, label}].
function detections(boxes, scores, labels, size, width, height, smallest) {
  const factors = [Math.fround(size[0] / width), Math.fround(size[1] / height)];
  const found = [];
  for (let i = 0; i < scores.length; i++) {
    const label = Number(labels[i]);
    if (label < 0) continue;
    const box = [0, 1, 2, 3].map((side) => {
      const inside = Math.min(Math.max(boxes[4 * i + side], 0), size[side % 2]);
      return Math.fround(inside / factors[side % 2]);
    });
    const wide = Math.min(box[2] - box[0], box[3] - box[1]) > smallest;
    if (smallest < 0 || wide) found.push({box, score: scores[i], label});
  }
  return found;
}
