/* A source for the frame bus (docs/bus.md) in plain C: a grey ramp that moves, 300 frames.
 * cc -std=gnu11 -I obs_plugin scripts/examples/source.c -o source && ./source [SESSION]                              */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "driftcam_bus.h"

enum { WIDTH = 256, HEIGHT = 192 };

static struct driftcam_message message(enum driftcam_type type)
{
	struct driftcam_message m = {.major = DRIFTCAM_MAJOR, .minor = DRIFTCAM_MINOR, .type = type};
	memcpy(m.magic, DRIFTCAM_MAGIC, sizeof m.magic);
	return m;
}

static struct driftcam_message receive(int bus, char *json, int *memory)
{
	struct driftcam_message m;
	union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	struct iovec part = {&m, sizeof m};
	struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	if (recvmsg(bus, &head, MSG_WAITALL) != sizeof m) { fprintf(stderr, "the daemon hung up\n"); exit(1); }
	struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
	if (rights && memory) memcpy(memory, CMSG_DATA(rights), sizeof *memory);
	if (m.json_length) recv(bus, json, m.json_length, MSG_WAITALL);
	json[m.json_length] = 0;
	return m;
}

int main(int argc, char **argv)
{
	static char json[DRIFTCAM_MAX_JSON + 1];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s/" DRIFTCAM_SOCKET, getenv("XDG_RUNTIME_DIR"));
	int bus = socket(AF_UNIX, SOCK_STREAM, 0), memory = -1, busy[DRIFTCAM_SLOTS] = {0};
	if (connect(bus, (struct sockaddr *)&address, sizeof address)) { perror(address.sun_path); return 1; }

	struct driftcam_message m = message(DRIFTCAM_HELLO);
	m.json_length = snprintf(json, sizeof json, "{\"role\":\"source\",\"session\":\"%s\",\"format\":\"BGRA8\"}",
				 argc > 1 ? argv[1] : "example");
	send(bus, &m, sizeof m, 0);
	send(bus, json, m.json_length, 0);
	m = receive(bus, json, &memory);
	if (m.type != DRIFTCAM_WELCOME) { fprintf(stderr, "%s\n", json); return 1; }
	size_t slot_bytes = strtoull(strstr(json, "\"slot_bytes\":") + 13, NULL, 10);
	uint8_t *slots = mmap(NULL, DRIFTCAM_SLOTS * slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (slots == MAP_FAILED) { perror("mmap"); return 1; }

	for (int frame = 0; frame < 300; frame++) {
		char byte;
		while (recv(bus, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) { /* slots that come back; events are not for us */
			m = receive(bus, json, NULL);
			if (m.type == DRIFTCAM_RELEASE) busy[m.slot] = 0;
		}
		int slot = 0;
		while (slot < DRIFTCAM_SLOTS && busy[slot]) slot++;
		if (slot < DRIFTCAM_SLOTS) { /* else the frame is dropped: never wait */
			struct timespec now;
			clock_gettime(CLOCK_MONOTONIC, &now);
			for (int i = 0; i < WIDTH * HEIGHT; i++) memset(slots + slot * slot_bytes + 4 * i, (i + 4 * frame) % 256, 4);
			m = message(DRIFTCAM_FRAME);
			m.slot = slot, m.width = WIDTH, m.height = HEIGHT, m.stride = 4 * WIDTH;
			m.pixel_format = DRIFTCAM_BGRA8, m.payload_size = 4 * WIDTH * HEIGHT;
			m.pts = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
			busy[slot] = 1;
			send(bus, &m, sizeof m, MSG_NOSIGNAL);
		}
		usleep(33333);
	}
	return 0;
}
