// Frames (u8) to tensors (fp16, NCHW, [-1, 1]) and back, each in one pass with bilinear scaling.
//
// The common subset of CUDA C++ and C: a test compiles this file for the CPU, where `KERNEL`, `half_of` and `float_of`
// come from its shim. Pixel centres lie at half numbers and borders repeat, as in OpenCV's INTER_LINEAR.
// A thread makes one pixel.

#ifndef KERNEL
#define KERNEL extern "C" __global__ void
typedef unsigned char u8;
typedef unsigned short u16;
static __device__ __forceinline__ u16 half_of(float value) {
  u16 half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}
static __device__ __forceinline__ float float_of(u16 half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}
#define FUNCTION static __device__ __forceinline__
#endif

#define THREAD_X ((int)(blockIdx.x * blockDim.x + threadIdx.x))
#define THREAD_Y ((int)(blockIdx.y * blockDim.y + threadIdx.y))

// Where pixel `index` of `size` lies in a picture of `from`: the two neighbours and the share of the second.
struct tap { int low, high; float share; };

FUNCTION struct tap tap_of(int index, int size, int from) {
  struct tap tap;
  float place = (index + 0.5f) * ((float)from / size) - 0.5f;
  float low = floorf(place);
  tap.share = place - low;
  tap.low = (int)low;
  tap.high = tap.low + 1;
  tap.low = tap.low < 0 ? 0 : tap.low >= from ? from - 1 : tap.low;
  tap.high = tap.high < 0 ? 0 : tap.high >= from ? from - 1 : tap.high;
  return tap;
}

FUNCTION float mix(float a, float b, float share) { return a + (b - a) * share; }

// One byte of every `step` bytes of a picture whose rows are `pitch` bytes apart.
FUNCTION float sample_u8(const u8 *picture, int pitch, int step, struct tap x, struct tap y) {
  const u8 *top = picture + (long long)y.low * pitch, *bottom = picture + (long long)y.high * pitch;
  float above = mix(top[x.low * step], top[x.high * step], x.share);
  float below = mix(bottom[x.low * step], bottom[x.high * step], x.share);
  return mix(above, below, y.share);
}

// One plane of a tensor, as a number from 0 to 255.
FUNCTION float sample_half(const u16 *plane, int width, struct tap x, struct tap y) {
  const u16 *top = plane + (long long)y.low * width, *bottom = plane + (long long)y.high * width;
  float above = mix(float_of(top[x.low]), float_of(top[x.high]), x.share);
  float below = mix(float_of(bottom[x.low]), float_of(bottom[x.high]), x.share);
  return mix(above, below, y.share) * 127.5f + 127.5f;
}

FUNCTION u8 byte_of(float value) {
  value = floorf(value + 0.5f);
  return (u8)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
}

FUNCTION void put(u16 *tensor, int x, int y, int width, int height, float r, float g, float b) {
  long long plane = (long long)width * height, at = (long long)y * width + x;
  tensor[at] = half_of(r / 127.5f - 1.0f);
  tensor[at + plane] = half_of(g / 127.5f - 1.0f);
  tensor[at + 2 * plane] = half_of(b / 127.5f - 1.0f);
}

KERNEL rgb_to_tensor(const u8 *frame, int frame_width, int frame_height, u16 *tensor, int width, int height) {
  int column = THREAD_X, row = THREAD_Y, pitch = 3 * frame_width;
  if (column >= width || row >= height) return;
  struct tap x = tap_of(column, width, frame_width), y = tap_of(row, height, frame_height);
  put(tensor, column, row, width, height, sample_u8(frame, pitch, 3, x, y), sample_u8(frame + 1, pitch, 3, x, y),
      sample_u8(frame + 2, pitch, 3, x, y));
}

KERNEL bgra_to_tensor(const u8 *frame, int frame_width, int frame_height, u16 *tensor, int width, int height) {
  int column = THREAD_X, row = THREAD_Y, pitch = 4 * frame_width;
  if (column >= width || row >= height) return;
  struct tap x = tap_of(column, width, frame_width), y = tap_of(row, height, frame_height);
  put(tensor, column, row, width, height, sample_u8(frame + 2, pitch, 4, x, y), sample_u8(frame + 1, pitch, 4, x, y),
      sample_u8(frame, pitch, 4, x, y));
}

KERNEL tensor_to_rgb(const u16 *tensor, int width, int height, u8 *frame, int frame_width, int frame_height) {
  int column = THREAD_X, row = THREAD_Y;
  if (column >= frame_width || row >= frame_height) return;
  long long plane = (long long)width * height;
  struct tap x = tap_of(column, frame_width, width), y = tap_of(row, frame_height, height);
  u8 *pixel = frame + 3 * ((long long)row * frame_width + column);
  for (int channel = 0; channel < 3; channel++) pixel[channel] = byte_of(sample_half(tensor + channel * plane, width, x, y));
}

// The alpha of `source`, a BGRA frame of any size, is kept.
KERNEL tensor_to_bgra(const u16 *tensor, int width, int height, u8 *frame, int frame_width, int frame_height,
                      const u8 *source, int source_width, int source_height) {
  int column = THREAD_X, row = THREAD_Y;
  if (column >= frame_width || row >= frame_height) return;
  long long plane = (long long)width * height;
  struct tap x = tap_of(column, frame_width, width), y = tap_of(row, frame_height, height);
  struct tap sx = tap_of(column, frame_width, source_width), sy = tap_of(row, frame_height, source_height);
  u8 *pixel = frame + 4 * ((long long)row * frame_width + column);
  for (int channel = 0; channel < 3; channel++)
    pixel[channel] = byte_of(sample_half(tensor + (2 - channel) * plane, width, x, y));
  pixel[3] = byte_of(sample_u8(source + 3, 4 * source_width, 4, sx, sy));
}
