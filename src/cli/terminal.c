/* A signal handler, writes that remember how they failed, what the terminal can show, libedit. */
#include "cli/terminal.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

/* What a signal handler can reach and how stdout failed: the process's own, hence here. */
static atomic_bool interrupted;
static int output_error;

bool sn_is_terminal(FILE *file) { return isatty(fileno(file)); }

static void on_interrupt(int signal_number) {
    if (atomic_exchange(&interrupted, true)) _exit(128 + signal_number);
}

atomic_bool *sn_interrupts(void) {
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: a read for the next line ends as well */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    return &interrupted;
}

bool sn_print(const char *bytes, size_t length) {
    if (output_error) return false;
    if (fwrite(bytes, 1, length, stdout) != length || fflush(stdout) != 0) output_error = errno ? errno : EIO;
    return !output_error;
}

bool sn_print_text(const char *text, size_t length) {
    if (!sn_is_terminal(stdout)) return sn_print(text, length);
    size_t from = 0;
    for (size_t i = 0; i <= length; i++) {
        unsigned char c = i < length ? (unsigned char)text[i] : 0;
        bool c1 = c == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0; /* U+0080 to U+009F in UTF-8 */
        if (!c1 && ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')) continue;
        if (i > from && !sn_print(text + from, i - from)) return false;
        i += c1;
        from = i + 1;
    }
    return true;
}

sn_status sn_print_status(sn_error *error) {
    if (!output_error && (fflush(stdout) != 0 || ferror(stdout))) output_error = errno ? errno : EIO;
    if (!output_error || output_error == EPIPE) return SN_OK;
    return sn_fail(error, SN_ERROR_IO, "standard output: cannot write: %s", strerror(output_error));
}

/* ---- pictures ---- */

/* What the terminal says to a question, up to its device attributes ("ESC [ ? 62 ; 4 c"), which all terminals have: so one that does not
 * know the rest of the question ends the wait as well. */
static void ask_terminal(const char *question, char *answer, size_t capacity) {
    struct termios before, raw;
    size_t length = 0;
    int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal >= 0 && !tcgetattr(terminal, &before)) {
        raw = before;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        struct pollfd ready = {.fd = terminal, .events = POLLIN};
        tcsetattr(terminal, TCSANOW, &raw);
        bool asked = write(terminal, question, strlen(question)) == (ssize_t)strlen(question);
        while (asked && length + 1 < capacity && poll(&ready, 1, 1000) == 1 && read(terminal, answer + length, 1) == 1) {
            answer[++length] = 0;
            const char *attributes = strstr(answer, "\033[?");
            if (attributes && answer[length - 1] == 'c') break;
        }
        tcsetattr(terminal, TCSANOW, &before);
    }
    answer[length] = 0;
    if (terminal >= 0) close(terminal);
}

sn_terminal_pictures sn_terminal_shows(void) {
    static bool asked;
    static sn_terminal_pictures shows;
    if (asked || !sn_is_terminal(stdout)) return shows;
    asked = true;
    char answer[256];
    ask_terminal("\033_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\033\\\033[c", answer, sizeof answer);
    const char *attributes = strstr(answer, "\033[?");
    if (strstr(answer, "\033_Gi=31;OK")) return shows = SN_PICTURES_KITTY;
    for (const char *at = attributes ? strchr(attributes, ';') : NULL; at; at = strchr(at + 1, ';'))
        if (at[1] == '4' && (at[2] == ';' || at[2] == 'c')) shows = SN_PICTURES_SIXEL;
    return shows;
}

/* ---- lines ---- */

struct sn_lines {
    const char *prompt;
    EditLine *edit; /* NULL: plain lines */
    History *history;
    char *line;
    size_t capacity;
};

static char *prompt_of(EditLine *edit) {
    void *lines = NULL;
    el_get(edit, EL_CLIENTDATA, &lines);
    return (char *)(uintptr_t)((sn_lines *)lines)->prompt;
}

/* One character of the keyboard. Ctrl-C ends the line, which sn_lines_next then drops. */
static int next_character(EditLine *edit, wchar_t *out) {
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        char byte;
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR && !atomic_load(&interrupted)) continue;
        if (got < 0 && errno == EINTR) {
            *out = L'\n';
            return 1;
        }
        if (got <= 0) return (int)got;
        size_t length = mbrtowc(out, &byte, 1, &state);
        if (length == (size_t)-2) continue;
        if (length == (size_t)-1) *out = L'?';
        if (length == 0) *out = L'\0';
        return 1;
    }
}

sn_status sn_lines_open(const char *prompt, sn_lines **out, sn_error *error) {
    sn_lines *l = *out = sn_alloc(1, sizeof *l);
    if (!l) return sn_fail_memory(error);
    l->prompt = prompt;
    if (!sn_is_terminal(stdin) || !sn_is_terminal(stdout)) return SN_OK;
    HistEvent event;
    l->edit = el_init("sensorium", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) {
        sn_lines_close(l);
        *out = NULL;
        return sn_fail_memory(error);
    }
    history(l->history, &event, H_SETSIZE, 1000);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, prompt_of);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(l->edit, EL_GETCFN, next_character);
    return SN_OK;
}

void sn_lines_close(sn_lines *l) {
    if (!l) return;
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
    free(l->line);
    sn_free(l);
}

bool sn_lines_edited(const sn_lines *l) { return l->edit != NULL; }

static const char *edited_line(sn_lines *l) {
    int length = 0;
    HistEvent event;
    const char *text = el_gets(l->edit, &length);
    if (!text || length <= 0) return NULL;
    free(l->line);
    l->line = strdup(text);
    if (!l->line) return NULL;
    l->line[strcspn(l->line, "\r\n")] = 0;
    if (atomic_exchange(&interrupted, false)) l->line[0] = 0;
    if (l->line[0]) history(l->history, &event, H_ENTER, l->line);
    return l->line;
}

const char *sn_lines_next(sn_lines *l) {
    if (l->edit) return edited_line(l);
    ssize_t length = getline(&l->line, &l->capacity, stdin);
    if (length < 0) return NULL;
    while (length > 0 && (l->line[length - 1] == '\n' || l->line[length - 1] == '\r')) l->line[--length] = 0;
    return l->line;
}
