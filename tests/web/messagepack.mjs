// MessagePack, as much of it as messages have: an independent codec to inject into the SDK, with the same two functions as
// @msgpack/msgpack.

const text = new TextEncoder(), texts = new TextDecoder("utf-8", { fatal: true });

export function encode(value) {
  const bytes = [];
  const number = (size, put) => {
    const view = new DataView(new ArrayBuffer(size));
    put(view);
    bytes.push(...new Uint8Array(view.buffer));
  };
  const sized = (length, first, ...wider) => {
    if (length <= first[1]) return bytes.push(first[0] | length);
    const [tag, size] = wider.find(([, width]) => length < 2 ** (8 * width));
    bytes.push(tag);
    number(size, (view) => (size === 1 ? view.setUint8(0, length) : size === 2 ? view.setUint16(0, length) : view.setUint32(0, length)));
  };
  const write = (each) => {
    if (each === null || each === undefined) bytes.push(0xc0);
    else if (typeof each === "boolean") bytes.push(each ? 0xc3 : 0xc2);
    else if (Number.isSafeInteger(each) && each >= 0 && each < 128) bytes.push(each);
    else if (Number.isSafeInteger(each)) {
      bytes.push(each < 0 ? 0xd3 : 0xcf);
      number(8, (view) => view.setBigInt64(0, BigInt(each)));
    } else if (typeof each === "number") {
      bytes.push(0xcb);
      number(8, (view) => view.setFloat64(0, each));
    } else if (typeof each === "string") {
      const encoded = text.encode(each);
      sized(encoded.length, [0xa0, 31], [0xd9, 1], [0xda, 2], [0xdb, 4]);
      for (const byte of encoded) bytes.push(byte);
    } else if (Array.isArray(each)) {
      sized(each.length, [0x90, 15], [0xdc, 2], [0xdd, 4]);
      each.forEach(write);
    } else if (typeof each === "object") {
      const pairs = Object.entries(each);
      sized(pairs.length, [0x80, 15], [0xde, 2], [0xdf, 4]);
      for (const [key, item] of pairs) write(key), write(item);
    } else throw new TypeError(`no MessagePack for ${typeof each}`);
  };
  write(value);
  return new Uint8Array(bytes);
}

export function decode(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  const take = (size) => (at += size) - size;
  const many = (count, read) => Array.from({ length: count }, read);
  const string = (size) => texts.decode(data.subarray(take(size), at));
  const map = (count) => Object.fromEntries(many(count, () => [read(), read()]));
  const readers = {
    0xc0: () => null, 0xc2: () => false, 0xc3: () => true,
    0xca: () => view.getFloat32(take(4)), 0xcb: () => view.getFloat64(take(8)),
    0xcc: () => view.getUint8(take(1)), 0xcd: () => view.getUint16(take(2)), 0xce: () => view.getUint32(take(4)),
    0xcf: () => Number(view.getBigUint64(take(8))), 0xd0: () => view.getInt8(take(1)), 0xd1: () => view.getInt16(take(2)),
    0xd2: () => view.getInt32(take(4)), 0xd3: () => Number(view.getBigInt64(take(8))),
    0xd9: () => string(view.getUint8(take(1))), 0xda: () => string(view.getUint16(take(2))), 0xdb: () => string(view.getUint32(take(4))),
    0xdc: () => many(view.getUint16(take(2)), read), 0xdd: () => many(view.getUint32(take(4)), read),
    0xde: () => map(view.getUint16(take(2))), 0xdf: () => map(view.getUint32(take(4))),
  };
  function read() {
    const tag = view.getUint8(take(1));
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15);
    if (tag < 0xa0) return many(tag & 15, read);
    if (tag < 0xc0) return string(tag & 31);
    if (tag > 0xdf) return tag - 256;
    if (!(tag in readers)) throw new TypeError(`MessagePack ${tag.toString(16)}`);
    return readers[tag]();
  }
  const value = read();
  if (at !== data.byteLength) throw new RangeError("trailing bytes");
  return value;
}
