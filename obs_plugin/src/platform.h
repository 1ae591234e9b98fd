/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the bus client needs from the operating system. One implementation file per system. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLATFORM_NONE (-1)
#define PLATFORM_MAX_DESCRIPTORS 4

/* Monotonic nanoseconds, on the clock of OBS's frame times. */
int64_t platform_now(void);

/* Writes the path of the daemon's socket; false with the reason in `why` when there is none. */
bool platform_default_path(char *path, size_t size, const char **why);

/* Connects without waiting to a daemon of the same user. PLATFORM_NONE with a reason in `why` when that fails. */
int platform_connect(const char *path, const char **why);

/* Bytes moved; 0 when that would wait; -1 when the connection is gone. Neither ever waits. */
ptrdiff_t platform_send(int socket, const void *data, size_t size);
/* Descriptors that came along are added to `descriptors` (`count` is updated); those beyond the room are closed. */
ptrdiff_t platform_receive(int socket, void *data, size_t size, int descriptors[PLATFORM_MAX_DESCRIPTORS], int *count);

/* Maps sealed shared memory of exactly `size` bytes; NULL with the reason in `why`. The descriptor stays open. */
void *platform_map(int descriptor, size_t size, bool writable, const char **why);
void platform_unmap(void *memory, size_t size);

void platform_close(int descriptor);

/* A bell that any thread may ring to end a wait. */
int platform_bell(void);
void platform_ring(int bell);

/* Until the bell rings, `socket` (or PLATFORM_NONE) can be read (or written, when asked for), or `timeout_ms` (-1:
 * for ever) is over. */
void platform_wait(int bell, int socket, bool writing, int timeout_ms);
