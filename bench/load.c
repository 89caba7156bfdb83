/*
 * load: ask a Modbus/TCP server on loopback for holding registers (FC3), plain or over mutual TLS, check every reply,
 * and print one JSON line. Exit code 0: every request was answered rightly; 1: some were not; 2: it could not start.
 *
 * Latency runs from just before the write that carries a request to just after the read that completes its reply; with
 * --anew each request has a connection of its own, one after another, and its latency begins before that connects.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_HOLDING_REGISTERS = 3,
    REQUEST_SIZE = 12,
    HEADER_SIZE = 6,            /* transaction, protocol and length: what the length field does not count */
    SHORTEST_LENGTH = 3,        /* unit, function and one byte: an exception */
    LONGEST_LENGTH = 254,
    MAX_REGISTERS = 125,
    MAX_CONNECTIONS = 1000,
    MAX_DEPTH = 256,            /* 3 kB of requests always fit the socket's buffer, so a write is never short */
    INPUT_SIZE = 16384 + HEADER_SIZE + LONGEST_LENGTH,  /* one whole TLS record behind the rest of a frame */
};

#define NS_PER_S 1000000000ull

struct settings {
    const char *host, *cert, *key, *ca;
    int port, connections, depth, registers, unit;
    bool anew;
    uint64_t run_ns;            /* 0: bounded by `requests` */
    uint64_t requests;
    uint64_t timeout_ns;        /* for connecting, for a handshake, and for any reply */
};

struct connection {
    int fd;
    SSL *ssl;
    uint16_t oldest, next;      /* transaction ids: the oldest without an answer, and the next to be sent */
    uint64_t asked_at[MAX_DEPTH];
    size_t held;
    uint8_t input[INPUT_SIZE];
};

static struct settings settings = {
    .host = "127.0.0.1", .connections = 1, .depth = 1, .registers = 10, .unit = 1, .timeout_ns = 5 * NS_PER_S,
};
static uint64_t stop_at = UINT64_MAX;   /* no request is sent after this time */
static uint64_t allowed;                /* how many requests may be sent in all, by now */
static uint64_t asked, right, wrong, outstanding;
static uint64_t in_time, last_in_time;  /* right replies before `stop_at`: the rate is theirs, the drain does not count */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static _Noreturn __attribute__((format(printf, 1, 2))) void refuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static _Noreturn void refuse_tls(const char *what, SSL *ssl)
{
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    const char *reason = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                                              : ERR_reason_error_string(ERR_peek_last_error());
    refuse("%s: %s", what, reason ? reason : "the peer gave no reason");
}

/* Count `lost` requests as errors, and say why for the first. */
static void blame(uint64_t lost, const char *why)
{
    if (wrong == 0)
        fprintf(stderr, "load: %s\n", why);
    wrong += lost;
}

/* ---- latency: a histogram whose steps are below 0.1 % of the value ---- */

enum { STEP_BITS = 10, STEPS = 1 << STEP_BITS };
static uint32_t histogram[(64 - STEP_BITS) * STEPS];
static uint64_t slowest_ns;

static void note_latency(uint64_t ns)
{
    int shift = 63 - __builtin_clzll(ns | 1) - STEP_BITS;
    if (shift < 0)
        shift = 0;
    histogram[((uint64_t)shift << STEP_BITS) + (ns >> shift)]++;
    if (ns > slowest_ns)
        slowest_ns = ns;
}

static double percentile_us(double share)
{
    uint64_t wanted = (uint64_t)(share * (double)(right - 1)), seen = 0;
    for (size_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            size_t shift = i < 2 * STEPS ? 0 : (i >> STEP_BITS) - 1;
            return (double)((i - (shift << STEP_BITS)) << shift) / 1e3;
        }
    }
    return 0;
}

/* ---- one connection ---- */

static void end_connection(struct connection *c, const char *why)
{
    uint16_t lost = c->next - c->oldest;
    blame(lost ? lost : 1, why);
    outstanding -= lost;
    SSL_free(c->ssl);
    close(c->fd);
    c->fd = -1;
}

/* Fill the window with requests, in one write. */
static void ask(struct connection *c)
{
    uint8_t batch[MAX_DEPTH * REQUEST_SIZE];
    int size = 0;
    uint64_t now = now_ns();
    while ((uint16_t)(c->next - c->oldest) < settings.depth && asked < allowed && now < stop_at) {
        const uint8_t request[REQUEST_SIZE] = {
            c->next >> 8, c->next & 0xff, 0, 0, 0, 6, settings.unit, READ_HOLDING_REGISTERS, 0, 0, 0, settings.registers,
        };
        memcpy(batch + size, request, REQUEST_SIZE);
        size += REQUEST_SIZE;
        c->asked_at[c->next++ % MAX_DEPTH] = now;
        asked++;
        outstanding++;
    }
    if (size == 0)
        return;
    ssize_t sent = c->ssl ? SSL_write(c->ssl, batch, size) : send(c->fd, batch, size, MSG_NOSIGNAL);
    if (sent != size)
        end_connection(c, "a write failed: the server closed the connection");
}

/* What is wrong with the reply to the oldest request, or NULL; `reply` is a whole frame of `size` bytes. */
static const char *fault(const struct connection *c, const uint8_t *reply, size_t size)
{
    if ((reply[0] << 8 | reply[1]) != c->oldest)
        return "a reply has the wrong transaction id";
    if (reply[6] != settings.unit)
        return "a reply has the wrong unit";
    if (reply[7] == (READ_HOLDING_REGISTERS | 0x80))
        return "a request was answered with an exception";
    if (reply[7] != READ_HOLDING_REGISTERS)
        return "a reply has the wrong function";
    if (reply[8] != 2 * settings.registers || size != HEADER_SIZE + 3 + (size_t)reply[8])
        return "a reply has the wrong byte count";
    return NULL;
}

/* Take the whole frames out of the input. False when the connection is past saving. */
static bool take_replies(struct connection *c, uint64_t now)
{
    size_t at = 0;
    for (;;) {
        const uint8_t *reply = c->input + at;
        if (c->held - at < HEADER_SIZE)
            break;
        size_t length = reply[4] << 8 | reply[5];
        if (reply[2] || reply[3] || length < SHORTEST_LENGTH || length > LONGEST_LENGTH) {
            end_connection(c, "what came is not a Modbus/TCP frame");
            return false;
        }
        if (c->held - at < HEADER_SIZE + length)
            break;
        if (c->oldest == c->next) {
            end_connection(c, "a reply came that nobody asked for");
            return false;
        }
        const char *why = fault(c, reply, HEADER_SIZE + length);
        if (why) {
            blame(1, why);
        } else {
            right++;
            if (now <= stop_at) {
                in_time++;
                last_in_time = now;
            }
            note_latency(now - c->asked_at[c->oldest % MAX_DEPTH]);
        }
        c->oldest++;
        outstanding--;
        at += HEADER_SIZE + length;
    }
    c->held -= at;
    memmove(c->input, c->input + at, c->held);
    return true;
}

/* Read what is there; epoll does not see what OpenSSL already holds, so that is read to its end. */
static void serve(struct connection *c)
{
    do {
        int room = (int)(INPUT_SIZE - c->held);
        ssize_t got = c->ssl ? SSL_read(c->ssl, c->input + c->held, room) : recv(c->fd, c->input + c->held, room, 0);
        if (got <= 0) {
            bool later = c->ssl ? SSL_get_error(c->ssl, (int)got) == SSL_ERROR_WANT_READ : got < 0 && errno == EAGAIN;
            if (later)
                break;
            end_connection(c, "the server closed the connection");
            return;
        }
        c->held += (size_t)got;
        if (!take_replies(c, now_ns()))
            return;
    } while (c->ssl && SSL_has_pending(c->ssl));
    ask(c);
}

static int dial(void)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    socklen_t size = sizeof *v4;
    if (inet_pton(AF_INET, settings.host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)settings.port);
    } else if (inet_pton(AF_INET6, settings.host, &v6->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)settings.port);
        size = sizeof *v6;
    } else {
        refuse("--host %s is not a loopback address (127.0.0.0/8 or ::1); this tool speaks to loopback only", settings.host);
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval limit = {settings.timeout_ns / NS_PER_S, settings.timeout_ns % NS_PER_S / 1000};
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit))
        refuse("no socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, size))
        refuse("cannot connect to %s port %d: %s", settings.host, settings.port, strerror(errno));
    return fd;
}

static void open_connection(struct connection *c, SSL_CTX *tls, uint16_t first)
{
    c->next = c->oldest = first;
    c->fd = dial();
    if (tls) {
        c->ssl = SSL_new(tls);
        if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), settings.host))
            refuse_tls("TLS", NULL);
        if (SSL_connect(c->ssl) != 1)
            refuse_tls("the TLS handshake failed", c->ssl);
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK))
        refuse("no non-blocking socket: %s", strerror(errno));
}

static SSL_CTX *tls_context(void)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION))
        refuse_tls("TLS", NULL);
    if (SSL_CTX_use_certificate_chain_file(tls, settings.cert) != 1)
        refuse_tls(settings.cert, NULL);
    if (SSL_CTX_use_PrivateKey_file(tls, settings.key, SSL_FILETYPE_PEM) != 1)
        refuse_tls(settings.key, NULL);
    if (SSL_CTX_load_verify_locations(tls, settings.ca, NULL) != 1)
        refuse_tls(settings.ca, NULL);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_read_ahead(tls, 1);     /* one read for a record, not one for its header and one for its body */
    return tls;
}

/* ---- the run ---- */

static void hang_up(struct connection *c)
{
    if (c->fd < 0)
        return;
    if (c->ssl)
        SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
    c->fd = -1;
    c->ssl = NULL;
}

static void run_anew(struct connection *c, SSL_CTX *tls)
{
    if (settings.run_ns)
        stop_at = now_ns() + settings.run_ns;
    while (asked < settings.requests && now_ns() < stop_at) {
        uint64_t begun = now_ns();
        hang_up(c);
        open_connection(c, tls, (uint16_t)asked);
        allowed = asked + 1;
        ask(c);
        if (!outstanding)   /* time was up meanwhile */
            break;
        c->asked_at[c->oldest % MAX_DEPTH] = begun;
        while (outstanding) {
            struct pollfd waited = {.fd = c->fd, .events = POLLIN};
            if (poll(&waited, 1, (int)(settings.timeout_ns / 1000000)) == 0) {
                blame(outstanding, "a reply is missing");
                return;
            }
            serve(c);
        }
    }
}

static void run(struct connection *all, int poll_set)
{
    allowed = settings.requests;
    uint64_t start = now_ns(), give_up = UINT64_MAX;
    if (settings.run_ns) {
        stop_at = start + settings.run_ns;
        give_up = stop_at + settings.timeout_ns;
    }
    for (int i = 0; i < settings.connections; i++)
        ask(&all[i]);
    while (outstanding) {
        struct epoll_event ready[64];
        int count = epoll_wait(poll_set, ready, 64, (int)(settings.timeout_ns / 1000000));
        if (count < 0 && errno != EINTR)
            refuse("epoll_wait: %s", strerror(errno));
        if (count == 0 || now_ns() > give_up) {
            blame(outstanding, "replies are missing");
            break;
        }
        for (int i = 0; i < count; i++)
            serve(ready[i].data.ptr);
    }
}

static void print_microseconds(const char *name, double value)
{
    if (right)
        printf(", \"%s\": %.3f", name, value);
    else
        printf(", \"%s\": null", name);
}

static uint64_t number(const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < low || value > high)
        refuse("--%s must be a whole number from %lu to %lu, not '%s'", option, low, high, text);
    return value;
}

static uint64_t duration_ns(const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0.01 && value <= 3600))
        refuse("--%s must be seconds from 0.01 to 3600, not '%s'", option, text);
    return (uint64_t)(value * NS_PER_S);
}

static const char usage[] =
    "usage: load --port N (--seconds S | --requests N) [--host 127.0.0.1] [--connections 1] [--depth 1]\n"
    "            [--registers 10] [--unit 1] [--timeout 5] [--anew] [--cert CHAIN --key KEY --ca CA]\n"
    "Reads holding registers from address 0 over Modbus/TCP, or over mutual TLS when the three files are given.\n"
    "Speaks to loopback only. --depth is how many requests are on their way on one connection; --anew gives each\n"
    "request a connection of its own.\n";

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"depth", 1, 0, 'd'},
        {"registers", 1, 0, 'r'}, {"unit", 1, 0, 'u'}, {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'},
        {"timeout", 1, 0, 't'}, {"cert", 1, 0, 'C'}, {"key", 1, 0, 'K'}, {"ca", 1, 0, 'A'}, {"anew", 0, 0, 'N'}, {"help", 0, 0, '?'}, {0},
    };
    int letter;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (letter) {
        case 'h': settings.host = optarg; break;
        case 'p': settings.port = (int)number("port", optarg, 1, 65535); break;
        case 'c': settings.connections = (int)number("connections", optarg, 1, MAX_CONNECTIONS); break;
        case 'd': settings.depth = (int)number("depth", optarg, 1, MAX_DEPTH); break;
        case 'r': settings.registers = (int)number("registers", optarg, 1, MAX_REGISTERS); break;
        case 'u': settings.unit = (int)number("unit", optarg, 0, 255); break;
        case 'n': settings.requests = number("requests", optarg, 1, 1000000000); break;
        case 's': settings.run_ns = duration_ns("seconds", optarg); break;
        case 't': settings.timeout_ns = duration_ns("timeout", optarg); break;
        case 'C': settings.cert = optarg; break;
        case 'K': settings.key = optarg; break;
        case 'A': settings.ca = optarg; break;
        case 'N': settings.anew = true; break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind != argc || !settings.port || !settings.run_ns == !settings.requests) {
        fputs(usage, stderr);
        exit(2);
    }
    if (settings.anew && (settings.connections != 1 || settings.depth != 1))
        refuse("--anew asks one request on one connection at a time");
    if (!settings.cert != !settings.key || !settings.key != !settings.ca)
        refuse("--cert, --key and --ca belong together: mutual TLS needs all three");
    if (settings.run_ns)
        settings.requests = UINT64_MAX;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);   /* OpenSSL writes without MSG_NOSIGNAL */
    SSL_CTX *tls = settings.ca ? tls_context() : NULL;
    struct connection *all = calloc((size_t)settings.connections, sizeof *all);
    int poll_set = epoll_create1(EPOLL_CLOEXEC);
    if (!all || poll_set < 0)
        refuse("no memory or no epoll");
    for (int i = 0; i < settings.connections; i++) {
        open_connection(&all[i], tls, (uint16_t)(i * MAX_DEPTH));
        struct epoll_event want = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (epoll_ctl(poll_set, EPOLL_CTL_ADD, all[i].fd, &want))
            refuse("epoll_ctl: %s", strerror(errno));
    }
    char secured[128] = "null";
    if (tls)
        snprintf(secured, sizeof secured, "\"%s %s\"", SSL_get_version(all[0].ssl), SSL_get_cipher_name(all[0].ssl));

    uint64_t start = now_ns();
    if (settings.anew)
        run_anew(&all[0], tls);
    else
        run(all, poll_set);
    double seconds = (double)(now_ns() - start) / NS_PER_S;
    double rate = in_time ? (double)in_time * NS_PER_S / (double)(last_in_time - start) : 0;

    printf("{\"sent\": %lu, \"requests\": %lu, \"errors\": %lu, \"seconds\": %.6f, \"per_second\": %.1f",
           asked, right, wrong, seconds, rate);
    print_microseconds("p50_us", percentile_us(0.50));
    print_microseconds("p90_us", percentile_us(0.90));
    print_microseconds("p99_us", percentile_us(0.99));
    print_microseconds("max_us", (double)slowest_ns / 1e3);
    printf(", \"tls\": %s}\n", secured);

    for (int i = 0; i < settings.connections; i++)
        hang_up(&all[i]);
    close(poll_set);
    SSL_CTX_free(tls);
    free(all);
    return wrong ? 1 : 0;
}
