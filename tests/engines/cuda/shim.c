/* The CUDA kernels on the CPU: one call runs every thread of a grid, one after the other. */
#include <math.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef struct { unsigned x, y, z; } index3;
static index3 blockIdx, blockDim, threadIdx;
static u16 half_of(float value) { union { _Float16 half; u16 bits; } u; u.half = (_Float16)value; return u.bits; }
static float float_of(u16 bits) { union { _Float16 half; u16 bits; } u; u.bits = bits; return (float)u.half; }
#define FUNCTION static
#define KERNEL static void
#include SOURCE

#define GRID(call)                                                                    \
  for (blockIdx.y = 0; blockIdx.y < grid_y; blockIdx.y++)                             \
    for (blockIdx.x = 0; blockIdx.x < grid_x; blockIdx.x++)                           \
      for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)                  \
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) { call; }
#define SIZES unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y
#define START blockDim.x = block_x; blockDim.y = block_y

void run_rgb_to_tensor(SIZES, const u8 *f, int fw, int fh, u16 *t, int w, int h) { START; GRID(rgb_to_tensor(f, fw, fh, t, w, h)) }
void run_bgra_to_tensor(SIZES, const u8 *f, int fw, int fh, u16 *t, int w, int h) { START; GRID(bgra_to_tensor(f, fw, fh, t, w, h)) }
void run_tensor_to_rgb(SIZES, const u16 *t, int w, int h, u8 *f, int fw, int fh) { START; GRID(tensor_to_rgb(t, w, h, f, fw, fh)) }
void run_tensor_to_bgra(SIZES, const u16 *t, int w, int h, u8 *f, int fw, int fh, const u8 *s, int sw, int sh) { START; GRID(tensor_to_bgra(t, w, h, f, fw, fh, s, sw, sh)) }
