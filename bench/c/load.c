/* The load client: many event streams on one thread, light enough to read millions of events a second.
 *
 * It is told what to do by lines on stdin, one after the other, and answers each with one line of JSON:
 *
 *   open count=N port=P[,P...] path=/events?channel= [join=&channel=] [modulo=M] [width=W]
 *        [until=head|open] [in_flight=K] [seconds=S] [accept_encoding=gzip]
 *            opens N streams, at most K of them under way at once, and answers when each has got its
 *            head, or its fanlight.open. Stream n follows W channels: c[(n + j s) mod M], j < W, with
 *            a step s = 1 + (n / M) mod (M - 1).
 *   reopen [in_flight=K] [seconds=S] [port=P]     opens those again that are closed, each with the
 *            last id that it was given
 *   cut             resets all connections; their last ids are kept
 *   mark [sample=K] forgets all counts, and takes the latency of one event in K of a stream from now on
 *   wait deliveries=N seconds=S     answers as report, once there are N since mark
 *   report          what was counted since mark
 *   close           resets all connections, forgets them, and answers as report
 *
 * Data that begins with "t=<nanoseconds of the wall clock> " gives a latency. The order is checked on
 * ids of the form <ms>-<seq>..., which have to rise; of a stream without such ids it is not checked.
 * A compressed stream (gzip) is counted in bytes only where zlib was not there to compile with: report
 * says so by "inflates".
 */
#define _GNU_SOURCE
#if !defined WITHOUT_ZLIB && __has_include(<zlib.h>)
#include <zlib.h>
#define INFLATES true
#else
#define INFLATES false
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    TAIL_BYTES = 256 * 1024, /* the largest block that is understood */
    BATCH = 1024,
    PER_ADDRESS = 8000, /* streams from one source address: the system has 28,000 ports for each */
    SUB_BITS = 6,       /* a latency is known to 1 part in 64 */
    BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS,
};

enum phase { CLOSED, CONNECTING, HEAD, STREAM };
enum chunk { SIZE, EXTENSION, DATA, DATA_END, LAST };
enum until { UNTIL_HEAD, UNTIL_OPEN };

struct stream {
    int fd;
    enum phase phase;
    enum chunk chunk;
    bool chunked, encoded, live;
    uint64_t chunk_left;
    uint64_t ms, seq; /* of the last id */
    char id[72];
    uint32_t unsampled;
#if INFLATES
    z_stream *inflate; /* of a compressed stream */
#endif
    char *tail; /* the beginning of a block whose end has not been read */
    size_t tail_length, tail_size;
};

static struct {
    uint64_t deliveries, bytes, reads, opens, gaps, violations, ended, failed, samples, max_us;
    double marked_at, first_at, last_at, marked_cpu;
    uint32_t histogram[BUCKETS];
} counts;

static struct {
    char path[512], join[64], encoding[64];
    int ports[16], port_count;
    long modulo, width, in_flight;
    enum until until;
} ask;

static struct stream *streams;
static long stream_count, open_count, live_count;
static long opening, opened_next, under_way; /* of the open that goes on */
static bool resuming;
static double opening_since, heads_at;
static uint32_t sample = 1;
static int poller, first_status;
static char buffer[TAIL_BYTES + READ_BYTES];
#if INFLATES
static char plain[TAIL_BYTES + READ_BYTES];
#endif
static uint64_t now_ns;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The histogram: exact below 64 us, from there on 64 buckets to each power of two. */

static unsigned bucket(uint64_t us) {
    if (us < (1u << SUB_BITS)) return (unsigned)us;
    unsigned shift = 63u - (unsigned)__builtin_clzll(us) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((us >> shift) & ((1u << SUB_BITS) - 1));
}

static uint64_t upper_us(unsigned index) {
    if (index < (1u << SUB_BITS)) return index;
    unsigned shift = (index >> SUB_BITS) - 1;
    uint64_t mantissa = (1u << SUB_BITS) + (index & ((1u << SUB_BITS) - 1));
    return ((mantissa + 1) << shift) - 1;
}

static double percentile_ms(double share) {
    uint64_t rank = (uint64_t)(share * (double)counts.samples), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += counts.histogram[i]) > rank) {
            uint64_t us = upper_us(i); /* of the last bucket, more than there was */
            return (double)(us < counts.max_us ? us : counts.max_us) / 1e3;
        }
    return (double)counts.max_us / 1e3;
}

static void take_latency(const char *data, const char *end) {
    uint64_t sent = 0;
    for (data += 2; data < end && *data >= '0' && *data <= '9'; data++) sent = sent * 10 + (uint64_t)(*data - '0');
    uint64_t us = now_ns > sent ? (now_ns - sent) / 1000 : 0;
    counts.histogram[bucket(us)]++;
    counts.samples++;
    if (us > counts.max_us) counts.max_us = us;
}

/* Blocks. */

static bool is(const char *line, size_t length, const char *text) {
    return length == strlen(text) && memcmp(line, text, length) == 0;
}

/* False for an id of another form. */
static bool parse_position(const char *id, const char *end, uint64_t *ms, uint64_t *seq) {
    *ms = *seq = 0;
    const char *start = id;
    for (; id < end && *id >= '0' && *id <= '9'; id++) *ms = *ms * 10 + (uint64_t)(*id - '0');
    if (id == start || id == end || *id++ != '-') return false;
    start = id;
    for (; id < end && *id >= '0' && *id <= '9'; id++) *seq = *seq * 10 + (uint64_t)(*id - '0');
    return id > start;
}

static void went_live(struct stream *s) {
    if (!s->live) {
        s->live = true;
        live_count++;
    }
}

static void dispatch(struct stream *s, const char *data, const char *data_end, const char *type, size_t type_length,
                     const char *id, size_t id_length) {
    bool gap = is(type, type_length, "fanlight.gap"), open = is(type, type_length, "fanlight.open");
    if (id != NULL && id_length < sizeof s->id) {
        uint64_t ms, seq;
        if (parse_position(id, id + id_length, &ms, &seq)) {
            bool above = ms > s->ms || (ms == s->ms && seq > s->seq);
            bool same = ms == s->ms && seq == s->seq;
            /* What is no event of a channel may repeat the id that the client holds. */
            if (!above && !(same && (gap || open))) counts.violations++;
            s->ms = ms;
            s->seq = seq;
        }
        memcpy(s->id, id, id_length);
        s->id[id_length] = 0;
    }
    if (gap) counts.gaps++;
    if (open) {
        counts.opens++;
        went_live(s);
    }
    if (type_length >= 9 && memcmp(type, "fanlight.", 9) == 0) return;
    counts.deliveries++;
    if (++s->unsampled >= sample) {
        s->unsampled = 0;
        if (data_end - data > 2 && data[0] == 't' && data[1] == '=') take_latency(data, data_end);
    }
}

static const char *value_of(const char *line, size_t length, size_t name, size_t *value_length) {
    size_t skip = name + (length > name && line[name] == ' ');
    *value_length = length - skip;
    return line + skip;
}

/* Count the whole blocks from `p` on; returns where the first begins that is not whole. */
static const char *parse_blocks(struct stream *s, const char *p, const char *end) {
    const char *block = p, *data = NULL, *data_end = NULL, *type = "", *id = NULL, *newline;
    size_t type_length = 0, id_length = 0, value;
    while ((newline = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        size_t length = (size_t)(newline - p);
        if (length > 0 && p[length - 1] == '\r') length--;
        if (length == 0) {
            if (data != NULL) dispatch(s, data, data_end, type, type_length, id, id_length);
            data = id = NULL;
            type_length = 0;
            block = newline + 1;
        } else if (*p == 'd' && length >= 5 && memcmp(p, "data:", 5) == 0) {
            if (data == NULL) {
                data = value_of(p, length, 5, &value);
                data_end = data + value;
            }
        } else if (*p == 'i' && length >= 3 && memcmp(p, "id:", 3) == 0) {
            id = value_of(p, length, 3, &id_length);
        } else if (*p == 'e' && length >= 6 && memcmp(p, "event:", 6) == 0) {
            type = value_of(p, length, 6, &type_length);
        }
        p = newline + 1;
    }
    return block;
}

/* Take the chunks' framing out (RFC 9112, section 7.1), in place; returns the length that is left. */
static size_t unchunk(struct stream *s, char *text, size_t length) {
    char *to = text;
    const char *p = text, *end = text + length;
    while (p < end) {
        switch (s->chunk) {
        case SIZE: {
            char c = *p++;
            if (c >= '0' && c <= '9') s->chunk_left = s->chunk_left * 16 + (uint64_t)(c - '0');
            else if ((c | 32) >= 'a' && (c | 32) <= 'f') s->chunk_left = s->chunk_left * 16 + (uint64_t)((c | 32) - 'a' + 10);
            else if (c == '\n') s->chunk = s->chunk_left ? DATA : LAST;
            else if (c != '\r') s->chunk = EXTENSION;
            break;
        }
        case EXTENSION:
            if (*p++ == '\n') s->chunk = s->chunk_left ? DATA : LAST;
            break;
        case DATA: {
            size_t here = (size_t)(end - p) < s->chunk_left ? (size_t)(end - p) : (size_t)s->chunk_left;
            memmove(to, p, here);
            to += here;
            p += here;
            s->chunk_left -= here;
            if (s->chunk_left == 0) s->chunk = DATA_END;
            break;
        }
        case DATA_END:
            if (*p++ == '\n') s->chunk = SIZE;
            break;
        case LAST:
            p = end;
            break;
        }
    }
    return (size_t)(to - text);
}

/* Connections. */

static void keep_tail(struct stream *s, const char *from, size_t length) {
    if (length > s->tail_size) {
        s->tail_size = length + 256;
        s->tail = realloc(s->tail, s->tail_size);
        if (s->tail == NULL) abort();
    }
    if (length > 0) memcpy(s->tail, from, length);
    s->tail_length = length;
}

static void drop(struct stream *s) {
    if (s->phase == CLOSED) return;
    if (s->phase != STREAM) under_way--;
    else open_count--;
    if (s->live) live_count--;
    s->live = false;
    s->phase = CLOSED;
    s->tail_length = 0;
#if INFLATES
    if (s->inflate != NULL) {
        inflateEnd(s->inflate);
        free(s->inflate);
        s->inflate = NULL;
    }
#endif
    close(s->fd);
}

/* A reset: no port of the client is left waiting. */
static void reset(struct stream *s) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (s->phase != CLOSED) setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    drop(s);
}

static void fail(struct stream *s, int status) {
    counts.failed++;
    if (first_status == 0) first_status = status;
    reset(s);
}

static void send_request(struct stream *s) {
    static char request[16384];
    long n = s - streams, step = ask.modulo > 1 ? 1 + n / ask.modulo % (ask.modulo - 1) : 1;
    int length = snprintf(request, sizeof request, "GET %s", ask.path);
    for (long j = 0; j < ask.width && length < 12000; j++)
        length += snprintf(request + length, sizeof request - (size_t)length, "%sc%ld", j ? ask.join : "",
                           (n + j * step) % ask.modulo);
    length += snprintf(request + length, sizeof request - (size_t)length,
                       " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n");
    if (ask.encoding[0])
        length += snprintf(request + length, sizeof request - (size_t)length, "Accept-Encoding: %s\r\n", ask.encoding);
    if (resuming && s->id[0])
        length += snprintf(request + length, sizeof request - (size_t)length, "Last-Event-ID: %s\r\n", s->id);
    length += snprintf(request + length, sizeof request - (size_t)length, "\r\n");
    if (send(s->fd, request, (size_t)length, MSG_NOSIGNAL) != length) fail(s, -1);
}

static void begin(struct stream *s) {
    long n = s - streams;
    int one = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->phase = CONNECTING;
    under_way++;
    if (s->fd < 0) {
        fail(s, -errno);
        return;
    }
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(n / PER_ADDRESS));
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)ask.ports[n % ask.port_count])};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
    if (bind(s->fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &event) != 0)
        fail(s, -errno);
}

static void begin_more(void) {
    while (opening > 0 && under_way < ask.in_flight && opened_next < stream_count) {
        struct stream *s = &streams[opened_next++];
        if (s->phase == CLOSED) begin(s);
    }
}

/* The head, once it is whole: returns what follows it, or NULL. */
static char *take_head(struct stream *s, char *text, size_t length) {
    char *end = memmem(text, length, "\r\n\r\n", 4);
    if (end == NULL) return NULL;
    end[2] = 0;
    int status = length > 12 ? atoi(text + 9) : -1;
    if (status != 200) {
        fail(s, status);
        return NULL;
    }
    s->chunked = strcasestr(text, "\r\ntransfer-encoding: chunked") != NULL;
    s->encoded = strcasestr(text, "\r\ncontent-encoding:") != NULL;
#if INFLATES
    if (s->encoded) {
        s->inflate = calloc(1, sizeof *s->inflate);
        if (s->inflate == NULL || inflateInit2(s->inflate, 15 + 16) != Z_OK) abort();
    }
#endif
    s->chunk = SIZE;
    s->chunk_left = 0;
    s->phase = STREAM;
    open_count++;
    if (--under_way == 0 && opened_next == stream_count) heads_at = seconds();
    if (ask.until == UNTIL_HEAD) went_live(s);
    return end + 4;
}

/* Count the events of a body's part, which begins with what was kept of the part before. */
static void take_body(struct stream *s, const char *text, size_t length) {
    uint64_t before = counts.deliveries;
    const char *rest = parse_blocks(s, text, text + length);
    if (counts.deliveries != before) {
        counts.last_at = seconds();
        if (before == 0) counts.first_at = counts.last_at;
    }
    size_t left = (size_t)(text + length - rest);
    if (left > TAIL_BYTES) fail(s, -EMSGSIZE);
    else keep_tail(s, rest, left);
}

#if INFLATES
static void take_compressed(struct stream *s, char *from, size_t length) {
    z_stream *z = s->inflate;
    z->next_in = (Bytef *)from;
    z->avail_in = (uInt)length;
    do {
        memcpy(plain, s->tail, s->tail_length);
        z->next_out = (Bytef *)plain + s->tail_length;
        z->avail_out = READ_BYTES;
        int status = inflate(z, Z_SYNC_FLUSH);
        if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END) {
            fail(s, -EILSEQ);
            return;
        }
        take_body(s, plain, s->tail_length + READ_BYTES - z->avail_out);
    } while (s->phase == STREAM && z->avail_out == 0);
}
#endif

static void readable(struct stream *s) {
    char *here = buffer + (s->phase == STREAM && s->encoded ? 0 : s->tail_length);
    ssize_t got = recv(s->fd, here, READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        if (s->phase == STREAM) {
            counts.ended++;
            drop(s);
        } else {
            fail(s, got < 0 ? -errno : -1);
        }
        return;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    now_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    counts.reads++;
    counts.bytes += (uint64_t)got;
    /* The tail of a compressed stream is of what was inflated. */
    size_t length = (size_t)got, whole = s->phase == STREAM && s->encoded ? 0 : s->tail_length;
    memcpy(buffer, s->tail, whole);
    if (s->phase == HEAD) {
        char *body = take_head(s, buffer, whole + length);
        if (s->phase != STREAM) {
            if (s->phase == HEAD) keep_tail(s, buffer, whole + length);
            return;
        }
        length = (size_t)(buffer + whole + length - body);
        memmove(buffer, body, length);
        here = buffer;
        whole = s->tail_length = 0;
    }
    if (s->chunked) length = unchunk(s, here, length);
    if (!s->encoded) {
        take_body(s, buffer, whole + length);
        return;
    }
#if INFLATES
    take_compressed(s, here, length);
#endif
}

static void on_event(struct stream *s, uint32_t events) {
    if (s->phase == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            fail(s, -error);
            return;
        }
        if (!(events & EPOLLOUT)) return;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
        epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &event);
        s->phase = HEAD;
        send_request(s);
    } else if (s->phase != CLOSED) {
        readable(s);
    }
}

/* Commands. */

static const char *option(const char *line, const char *name, char *value, size_t size, const char *otherwise) {
    size_t length = strlen(name);
    for (const char *p = line; (p = strchr(p, ' ')) != NULL;) {
        p++;
        if (strncmp(p, name, length) == 0 && p[length] == '=') {
            snprintf(value, size, "%.*s", (int)strcspn(p + length + 1, " "), p + length + 1);
            return value;
        }
    }
    snprintf(value, size, "%s", otherwise);
    return value;
}

static double number(const char *line, const char *name, double otherwise) {
    char text[64];
    option(line, name, text, sizeof text, "");
    return text[0] ? atof(text) : otherwise;
}

static void take_ports(const char *line) {
    char text[256];
    option(line, "port", text, sizeof text, "");
    if (!text[0]) return;
    ask.port_count = 0;
    for (char *p = strtok(text, ","); p != NULL && ask.port_count < 16; p = strtok(NULL, ","))
        ask.ports[ask.port_count++] = atoi(p);
}

static void report(void) {
    double now = seconds(), window = now - counts.marked_at, cpu = cpu_seconds() - counts.marked_cpu;
    double share = window > 0 ? cpu / window : 0;
    printf("{\"inflates\":%s,", INFLATES ? "true" : "false");
    printf("\"deliveries\":%lu,\"bytes\":%lu,\"reads\":%lu,\"opens\":%lu,\"gaps\":%lu,\"violations\":%lu,"
           "\"ended\":%lu,\"failed\":%lu,\"open\":%ld,\"live\":%ld,\"seconds\":%.6f,\"first_seconds\":%.6f,"
           "\"last_seconds\":%.6f,\"cpu_seconds\":%.6f,\"cpu_share\":%.4f,\"saturated\":%s,\"samples\":%lu,",
           counts.deliveries, counts.bytes, counts.reads, counts.opens, counts.gaps, counts.violations, counts.ended,
           counts.failed, open_count, live_count, window, counts.first_at ? counts.first_at - counts.marked_at : 0,
           counts.last_at ? counts.last_at - counts.marked_at : 0, cpu, share, share > 0.9 ? "true" : "false",
           counts.samples);
    if (counts.samples) /* what was not measured is not printed */
        printf("\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n", percentile_ms(0.5), percentile_ms(0.99),
               (double)counts.max_us / 1e3);
    else
        printf("\"p50_ms\":null,\"p99_ms\":null,\"max_ms\":null}\n");
}

static void mark(void) {
    memset(&counts, 0, sizeof counts);
    counts.marked_at = seconds();
    counts.marked_cpu = cpu_seconds();
}

enum pending { NOTHING, OPENING, WAITING };
static enum pending pending;
static double deadline;
static uint64_t goal;

static void start_opening(const char *line) {
    opened_next = under_way = 0;
    heads_at = 0;
    first_status = 0;
    ask.in_flight = (long)number(line, "in_flight", 256);
    opening = stream_count;
    opening_since = seconds();
    deadline = opening_since + number(line, "seconds", 60);
    counts.failed = 0;
    pending = OPENING;
}

static void obey(const char *line) {
    char until[16];
    if (strncmp(line, "open ", 5) == 0) {
        stream_count = (long)number(line, "count", 1);
        streams = calloc((size_t)stream_count, sizeof *streams);
        if (streams == NULL) abort();
        take_ports(line);
        option(line, "path", ask.path, sizeof ask.path, "/events?channel=");
        option(line, "join", ask.join, sizeof ask.join, "&channel=");
        option(line, "accept_encoding", ask.encoding, sizeof ask.encoding, "");
        ask.modulo = (long)number(line, "modulo", 1);
        ask.width = (long)number(line, "width", 1);
        ask.until = strcmp(option(line, "until", until, sizeof until, "open"), "head") ? UNTIL_OPEN : UNTIL_HEAD;
        resuming = false;
        start_opening(line);
    } else if (strncmp(line, "reopen", 6) == 0) {
        take_ports(line);
        resuming = true;
        start_opening(line);
    } else if (strncmp(line, "mark", 4) == 0) {
        sample = (uint32_t)number(line, "sample", 1);
        mark();
        puts("{}");
    } else if (strncmp(line, "wait ", 5) == 0) {
        goal = (uint64_t)number(line, "deliveries", 0);
        deadline = seconds() + number(line, "seconds", 10);
        pending = WAITING;
    } else if (strcmp(line, "report") == 0) {
        report();
    } else if (strcmp(line, "cut") == 0 || strcmp(line, "close") == 0) {
        for (long i = 0; i < stream_count; i++) reset(&streams[i]);
        opening = 0;
        if (line[1] == 'l') {
            for (long i = 0; i < stream_count; i++) free(streams[i].tail);
            free(streams);
            streams = NULL;
            stream_count = 0;
        }
        report();
    } else {
        printf("{\"error\":\"no such command\"}\n");
    }
}

static void answer_pending(void) {
    double now = seconds();
    if (pending == OPENING) {
        bool all = opened_next == stream_count && under_way == 0 && live_count + (long)counts.failed >= stream_count;
        if (!all && now < deadline) return;
        printf("{\"live\":%ld,\"failed\":%lu,\"status\":%d,\"heads_seconds\":", live_count, counts.failed, first_status);
        if (heads_at > 0) printf("%.6f", heads_at - opening_since);
        else printf("null");
        printf(",\"seconds\":%.6f}\n", now - opening_since);
        opening = 0;
    } else if (pending == WAITING) {
        if (counts.deliveries < goal && now < deadline) return;
        report();
    }
    pending = NOTHING;
}

static char input[4096];
static size_t input_length;

/* False when whoever commands this has gone. */
static bool read_commands(void) {
    ssize_t got = read(0, input + input_length, sizeof input - 1 - input_length);
    if (got <= 0) return false;
    input_length += (size_t)got;
    return true;
}

/* One command at a time: the next one waits until this one has been answered. */
static void obey_next(void) {
    char *newline;
    while (pending == NOTHING && (newline = memchr(input, '\n', input_length)) != NULL) {
        *newline = 0;
        obey(input);
        size_t used = (size_t)(newline + 1 - input);
        memmove(input, newline + 1, input_length -= used);
    }
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdout, NULL, _IOLBF, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &commands) != 0) return 1;
    mark();
    static struct epoll_event events[BATCH];
    for (;;) {
        begin_more();
        int ready = epoll_wait(poller, events, BATCH, pending == NOTHING ? 1000 : 1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr != NULL) on_event(events[i].data.ptr, events[i].events);
            else if (!read_commands()) return 0;
        }
        answer_pending();
        obey_next();
    }
}
