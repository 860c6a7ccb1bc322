/* The reference: what a fan-out costs at least, from user space, without io_uring and the like.
 *
 *     bare PORT RATE BYTES
 *
 * Any request is answered with the head of an event stream. RATE times a second, one ready chunk with
 * BYTES bytes of data goes to every stream by a send() each, in a loop. The bytes are those that a
 * gateway sends, framing and id included; the data begins with the wall clock, as a publisher's does here.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, BATCH = 1024 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";

static int fds[MOST], place[MOST]; /* the streams, without holes; and where in it a descriptor is */
static int count;

static void add(int fd) {
    place[fd] = count;
    fds[count++] = fd;
}

static void drop(int fd) {
    if (place[fd] >= 0) {
        int last = fds[--count];
        fds[place[fd]] = last;
        place[last] = place[fd];
        place[fd] = -1;
    }
    close(fd);
}

static size_t make_chunk(char *chunk, size_t size, size_t data_bytes, uint64_t number) {
    static char data[65536];
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    memset(data, 'x', data_bytes);
    int stamp = snprintf(data, sizeof data, "t=%lld%09ld ", (long long)t.tv_sec, t.tv_nsec);
    data[stamp] = 'x';
    char frame[70000];
    int length = snprintf(frame, sizeof frame, "data: %.*s\nid: %lld-%lu-abcdef\n\n", (int)data_bytes, data,
                          1700000000000LL + (long long)number, 0UL);
    return (size_t)snprintf(chunk, size, "%x\r\n%s\r\n", (unsigned)length, frame);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    double rate = atof(argv[2]);
    size_t data_bytes = (size_t)atol(argv[3]);
    if (data_bytes < 32 || data_bytes > 60000 || rate <= 0) return 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST ? files.rlim_max : MOST;
    setrlimit(RLIMIT_NOFILE, &files);

    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) return 1;
    int ticks = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    long period_ns = (long)(1e9 / rate);
    struct timespec period = {period_ns / 1000000000, period_ns % 1000000000};
    struct itimerspec timer = {.it_interval = period, .it_value = period};
    timerfd_settime(ticks, 0, &timer, NULL);
    int watched[] = {listener, ticks};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, watched[i], &event);
    }
    memset(place, -1, sizeof place);

    static struct epoll_event events[BATCH];
    static char chunk[70000], request[16384];
    uint64_t number = 0, due;
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client;
                while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MOST) {
                        close(client);
                        continue;
                    }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct epoll_event event = {.events = EPOLLIN, .data.fd = client};
                    epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                }
            } else if (fd == ticks) {
                if (read(ticks, &due, sizeof due) != sizeof due) continue;
                /* A tick that could not be kept is left out, not sent late: the client counts. */
                size_t length = make_chunk(chunk, sizeof chunk, data_bytes, ++number);
                for (int j = count - 1; j >= 0; j--) { /* downwards: who is dropped is replaced by the last */
                    ssize_t sent = send(fds[j], chunk, length, MSG_NOSIGNAL | MSG_DONTWAIT);
                    if (sent > 0 && (size_t)sent < length) drop(fds[j]); /* half a chunk can't be mended */
                }
            } else if (read(fd, request, sizeof request) <= 0) {
                drop(fd);
            } else if (place[fd] < 0) {
                if (write(fd, HEAD, sizeof HEAD - 1) == (ssize_t)sizeof HEAD - 1) add(fd);
                else drop(fd);
            }
        }
    }
}
