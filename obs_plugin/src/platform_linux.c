/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WANTED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int64_t platform_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool platform_default_path(char *path, size_t size, const char **why)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!runtime || !*runtime) {
        *why = "XDG_RUNTIME_DIR is not set";
        return false;
    }
    if ((size_t)snprintf(path, size, "%s/driftcam/bus.sock", runtime) >= size) {
        *why = "the path of the socket is too long";
        return false;
    }
    return true;
}

static const char *connect_failure(int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        return "the daemon is not running";
    case EACCES:
        return "the daemon's socket may not be opened";
    case EAGAIN:
        return "the daemon does not answer";
    default:
        return strerror(error);
    }
}

int platform_connect(const char *path, const char **why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        *why = "the path of the socket is too long";
        return PLATFORM_NONE;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *why = strerror(errno);
        return PLATFORM_NONE;
    }
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        *why = connect_failure(errno);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.uid != geteuid()) {
        *why = "the socket belongs to another user";
    } else {
        return fd;
    }
    close(fd);
    return PLATFORM_NONE;
}

ptrdiff_t platform_send(int socket, const void *data, size_t size)
{
    ssize_t sent;
    do {
        sent = send(socket, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    return sent;
}

static void keep_descriptors(struct msghdr *message, int descriptors[], int *count)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t sent = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < sent; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (*count < PLATFORM_MAX_DESCRIPTORS)
                descriptors[(*count)++] = fd;
            else
                close(fd);
        }
    }
}

ptrdiff_t platform_receive(int socket, void *data, size_t size, int descriptors[PLATFORM_MAX_DESCRIPTORS], int *count)
{
    union {
        char bytes[CMSG_SPACE(PLATFORM_MAX_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec vector = {.iov_base = data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do {
        got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    keep_descriptors(&message, descriptors, count);
    return got == 0 ? -1 : got;
}

void *platform_map(int descriptor, size_t size, bool writable, const char **why)
{
    struct stat status;
    int seals = fcntl(descriptor, F_GET_SEALS);
    if (seals < 0 || (seals & WANTED_SEALS) != WANTED_SEALS) {
        *why = "the shared memory is not sealed against resizing";
        return NULL;
    }
    if (fstat(descriptor, &status) < 0 || status.st_size < 0 || (size_t)status.st_size != size) {
        *why = "the shared memory has another size than announced";
        return NULL;
    }
    void *memory = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) {
        *why = strerror(errno);
        return NULL;
    }
    return memory;
}

void platform_unmap(void *memory, size_t size)
{
    munmap(memory, size);
}

void platform_close(int descriptor)
{
    close(descriptor);
}

int platform_bell(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void platform_ring(int bell)
{
    uint64_t one = 1;
    ssize_t written = write(bell, &one, sizeof one); /* full means that it rings already */
    (void)written;
}

void platform_wait(int bell, int socket, bool writing, int timeout_ms)
{
    struct pollfd waits[2] = {{.fd = bell, .events = POLLIN},
                              {.fd = socket, .events = writing ? POLLIN | POLLOUT : POLLIN}};
    poll(waits, socket == PLATFORM_NONE ? 1 : 2, timeout_ms);
    uint64_t rings;
    ssize_t got = read(bell, &rings, sizeof rings);
    (void)got;
}
