/* A signal handler, and writes that remember how they failed. */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

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
        if (i < length && ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')) continue;
        if (i > from && !sn_print(text + from, i - from)) return false;
        from = i + 1;
    }
    return true;
}

sn_status sn_print_status(sn_error *error) {
    if (!output_error && (fflush(stdout) != 0 || ferror(stdout))) output_error = errno ? errno : EIO;
    if (!output_error || output_error == EPIPE) return SN_OK;
    return sn_fail(error, SN_ERROR_IO, "standard output: cannot write: %s", strerror(output_error));
}
