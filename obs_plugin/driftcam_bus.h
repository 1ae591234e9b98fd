/* The frame bus of Driftcam: byte layout of its messages. The protocol is docs/bus.md.
 *
 * Plain C11 (and C++) without dependencies; a program outside may copy this file. All numbers are little-endian, as
 * on every machine that Driftcam runs on. engines/api/bus.py says the same in Python; a test holds the two together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DRIFTCAM_BUS_H
#define DRIFTCAM_BUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRIFTCAM_MAGIC "DRFC" /* the first four bytes of every message, without an end mark */
#define DRIFTCAM_MAJOR 1      /* another major version is refused */
#define DRIFTCAM_MINOR 1
#define DRIFTCAM_SLOTS 3                /* of a shared memory */
#define DRIFTCAM_MAX_JSON (64u * 1024u) /* bytes behind a message */
#define DRIFTCAM_MAX_SIDE 16384u        /* pixels */
#define DRIFTCAM_MAX_NAME 64            /* characters of a client's name */
#define DRIFTCAM_MAX_PLANES 8           /* beside the picture of a frame */
#define DRIFTCAM_PLANE_ALIGN 64         /* the offset of a plane in its slot is a multiple of so many bytes */
#define DRIFTCAM_SOCKET "driftcam/bus.sock" /* below $XDG_RUNTIME_DIR */

/* F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW of <linux/fcntl.h>: a shared memory has at least these seals. */
#define DRIFTCAM_SEALS 0x7

enum driftcam_type {
	DRIFTCAM_HELLO = 1,          /* client -> daemon: JSON role, session, name, format, ... */
	DRIFTCAM_WELCOME = 2,        /* daemon -> client, with one or two descriptors: JSON of the session */
	DRIFTCAM_FRAME = 3,          /* a picture in an input slot */
	DRIFTCAM_RELEASE = 4,        /* the input slot may be filled again */
	DRIFTCAM_RESULT = 5,         /* a picture in a result slot, pts of the frame it was made from */
	DRIFTCAM_RESULT_RELEASE = 6, /* the result slot may be filled again */
	DRIFTCAM_PARAMETERS = 7,     /* request: JSON of changes */
	DRIFTCAM_STYLE_PICTURE = 8,  /* request, as up to version 1.0: DRIFTCAM_PLANE "style_picture" */
	DRIFTCAM_FLUSH = 9,          /* between the daemon and its engine */
	DRIFTCAM_REPORT = 10,        /* request: the state, styles and presets */
	DRIFTCAM_REPLY = 11,         /* sequence of the request */
	DRIFTCAM_ERROR = 12,         /* JSON field, value, advice, text; sequence of the request, or 0 */
	DRIFTCAM_EVENT = 13,         /* daemon -> client, unasked: JSON of the state */
	DRIFTCAM_PRESET = 14,        /* request: JSON name of the preset to apply */
	DRIFTCAM_OPEN = 15,          /* between the daemon and its engine */
	DRIFTCAM_CLOSE = 16,         /* between the daemon and its engine */
	DRIFTCAM_PLANE = 17          /* request: a picture for the whole session, JSON name; width 0 takes it away */
};

/* A message names a format by its number, the JSON of a plane by its name: "GRAY8". */
enum driftcam_format {
	DRIFTCAM_RGB24 = 1, /* bytes R G B */
	DRIFTCAM_BGRA8 = 2, /* bytes B G R A */
	DRIFTCAM_GRAY8 = 3, /* a byte: planes only */
	DRIFTCAM_GRAY16 = 4, /* two bytes: planes only */
	DRIFTCAM_RGB32F = 5  /* three floats: between the daemon and its engine */
};

/* The 64 bytes of a message; json_length bytes of a JSON object (UTF-8, no end mark) follow.
 *
 * The picture of a frame lies at the start of its slot. Planes beside it stand in the JSON:
 * "planes": [{"name": "mask", "format": "GRAY8", "width": 640, "height": 360, "stride": 640, "offset": 921600}] */
struct driftcam_message {
	char magic[4];
	uint16_t major;
	uint16_t minor;
	uint16_t type; /* enum driftcam_type */
	uint16_t slot;
	uint32_t width; /* pixels */
	uint32_t height;
	uint32_t stride;       /* bytes per row */
	uint32_t pixel_format; /* enum driftcam_format */
	uint32_t stream;       /* number of a stream between the daemon and its engine; 0 for every other client */
	uint64_t sequence;     /* of a request, given back with its answer */
	int64_t pts;           /* capture time, CLOCK_MONOTONIC ns */
	uint64_t payload_size; /* bytes of the picture in the slot: stride * height */
	uint32_t json_length;
	uint32_t reserved; /* 0 */
};

#ifdef __cplusplus
static_assert(sizeof(struct driftcam_message) == 64, "a message is 64 bytes");
}
#else
_Static_assert(sizeof(struct driftcam_message) == 64, "a message is 64 bytes");
#endif

#endif
