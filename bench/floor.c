/*
 * floor: answer every FC3 request with the same canned registers, as fast as one epoll loop in C can, with no table,
 * no checks and no rights. No Modbus server can be faster on this machine, so it is what the others are divided by.
 * Listens on 127.0.0.1 only, on a port that the kernel picks and that is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    REQUEST_SIZE = 12,
    REPLY_HEAD = 9,             /* MBAP header, function and byte count */
    MAX_REGISTERS = 125,
    BATCH = 256,                /* requests taken in one read */
    CANNED = 17,                /* what every register holds */
};

struct connection {
    int fd;
    size_t held;
    uint8_t input[BATCH * REQUEST_SIZE];
};

/* Answer the whole requests in the input with one write. Returns 0 when the connection must end. */
static int answer(struct connection *c)
{
    static uint8_t output[BATCH * (REPLY_HEAD + 2 * MAX_REGISTERS)];
    ssize_t got = recv(c->fd, c->input + c->held, sizeof c->input - c->held, 0);
    if (got <= 0)
        return 0;
    c->held += (size_t)got;
    size_t at = 0, size = 0;
    for (; c->held - at >= REQUEST_SIZE; at += REQUEST_SIZE) {
        const uint8_t *request = c->input + at;
        unsigned bytes = 2u * request[11];
        if (request[7] != 3 || request[10] || !bytes || bytes > 2 * MAX_REGISTERS)
            return 0;
        const uint8_t head[REPLY_HEAD] = {
            request[0], request[1], 0, 0, (uint8_t)((3 + bytes) >> 8), (uint8_t)(3 + bytes), request[6], 3, (uint8_t)bytes,
        };
        memcpy(output + size, head, REPLY_HEAD);
        size += REPLY_HEAD;
        for (unsigned i = 0; i < bytes; i += 2) {
            output[size++] = 0;
            output[size++] = CANNED;
        }
    }
    c->held -= at;
    memmove(c->input, c->input + at, c->held);
    return size == 0 || send(c->fd, output, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void watch(int poll_set, struct connection *c)
{
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll_set, EPOLL_CTL_ADD, c->fd, &want)) {
        perror("floor: epoll_ctl");
        exit(1);
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct connection door = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int poll_set = epoll_create1(EPOLL_CLOEXEC), on = 1;
    if (door.fd < 0 || poll_set < 0 || bind(door.fd, (struct sockaddr *)&address, size) || listen(door.fd, 128) ||
        getsockname(door.fd, (struct sockaddr *)&address, &size)) {
        perror("floor");
        return 1;
    }
    watch(poll_set, &door);
    printf("listening: modbus 127.0.0.1:%d\nready\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[64];
        int count = epoll_wait(poll_set, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c == &door) {
                struct connection *fresh = calloc(1, sizeof *fresh);
                if (!fresh || (fresh->fd = accept4(door.fd, NULL, NULL, SOCK_CLOEXEC)) < 0) {
                    free(fresh);
                    continue;
                }
                setsockopt(fresh->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                watch(poll_set, fresh);
            } else if (!answer(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
