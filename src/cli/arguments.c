/* One loop over argv, one over the tables for --help. */
#include "cli/arguments.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every command has it. */
static const sn_option help = {"help", 'h', NULL, "this text"};

static bool means(const sn_option *o, const char *name, size_t length, char letter) {
    return letter ? o->letter == letter : strlen(o->name) == length && memcmp(o->name, name, length) == 0;
}

static const sn_option *find(const sn_option *const *tables, const char *name, size_t length, char letter) {
    for (; *tables; tables++)
        for (const sn_option *o = *tables; o->name; o++)
            if (means(o, name, length, letter)) return o;
    return means(&help, name, length, letter) ? &help : NULL;
}

static sn_status unknown(const sn_arguments *a, const char *argument, sn_error *error) {
    sn_buf there = {0};
    for (const sn_option *const *t = a->tables; *t; t++)
        for (const sn_option *o = *t; o->name; o++) sn_buf_printf(&there, "%s--%s", there.length ? ", " : "", o->name);
    int shown = (int)strcspn(argument, "=");
    sn_status status = sn_fail(error, SN_ERROR_USAGE, "%s: there is no option %.*s; there are %s", a->command, shown, argument, there.length ? there.data : "none");
    sn_buf_free(&there);
    return status;
}

/* Takes argv[*i], an option, and its value. */
static sn_status take(sn_arguments *a, int argc, char **argv, int *i, sn_error *error) {
    const char *argument = argv[*i], *value = NULL;
    const sn_option *option;
    if (argument[1] == '-') {
        size_t length = strcspn(argument + 2, "=");
        option = find(a->tables, argument + 2, length, 0);
        if (argument[2 + length]) value = argument + 2 + length + 1;
    } else {
        option = find(a->tables, NULL, 0, argument[1]);
        if (argument[2]) value = argument + 2;
    }
    if (!option || (!option->value && argument[1] != '-' && value)) return unknown(a, argument, error);
    if (!option->value && value) return sn_fail(error, SN_ERROR_USAGE, "%s: --%s takes no value", a->command, option->name);
    if (option->value && !value) {
        if (*i + 1 == argc) return sn_fail(error, SN_ERROR_USAGE, "%s: --%s expects a value: --%s %s", a->command, option->name, option->name, option->value);
        value = argv[++*i];
    }
    a->given[a->num_given++] = (struct sn_argument){option, value ? value : ""};
    return SN_OK;
}

sn_status sn_arguments_read(int argc, char **argv, const sn_option *const *tables, sn_arguments *out, sn_error *error) {
    *out = (sn_arguments){.command = argv[0], .tables = tables, .plain = sn_alloc((size_t)argc, sizeof *out->plain), .given = sn_alloc((size_t)argc, sizeof *out->given)};
    sn_status status = out->plain && out->given ? SN_OK : sn_fail_memory(error);
    bool options = true;
    for (int i = 1; i < argc && !status; i++) {
        if (options && strcmp(argv[i], "--") == 0) options = false;
        else if (options && argv[i][0] == '-' && argv[i][1]) status = take(out, argc, argv, &i, error);
        else out->plain[out->num_plain++] = argv[i];
    }
    if (status) sn_arguments_free(out);
    return status;
}

void sn_arguments_free(sn_arguments *a) {
    sn_free(a->plain);
    sn_free(a->given);
    *a = (sn_arguments){0};
}

const char *sn_argument_at(const sn_arguments *a, const char *name, int i) {
    for (int k = 0; k < a->num_given; k++)
        if (strcmp(a->given[k].option->name, name) == 0 && i-- == 0) return a->given[k].value;
    return NULL;
}

const char *sn_argument(const sn_arguments *a, const char *name) {
    for (int k = a->num_given - 1; k >= 0; k--)
        if (strcmp(a->given[k].option->name, name) == 0) return a->given[k].value;
    return NULL;
}

bool sn_argument_given(const sn_arguments *a, const char *name) { return sn_argument(a, name) != NULL; }

sn_status sn_argument_integer(const sn_arguments *a, const char *name, int64_t low, int64_t high, int64_t *value, sn_error *error) {
    const char *text = sn_argument(a, name);
    char *end;
    if (!text) return SN_OK;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (!text[0] || *end || errno || number < low || number > high)
        return sn_fail(error, SN_ERROR_USAGE, "%s: --%s: found \"%s\", expected a whole number from %lld to %lld", a->command, name, text, (long long)low, (long long)high);
    *value = number;
    return SN_OK;
}

sn_status sn_argument_number(const sn_arguments *a, const char *name, double low, double high, double *value, sn_error *error) {
    const char *text = sn_argument(a, name);
    char *end;
    if (!text) return SN_OK;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* 0.2 is 0.2 in every locale */
    double number = strtod_l(text, &end, c);
    freelocale(c);
    if (!text[0] || *end || !(number >= low && number <= high))
        return sn_fail(error, SN_ERROR_USAGE, "%s: --%s: found \"%s\", expected a number from %g to %g", a->command, name, text, low, high);
    *value = number;
    return SN_OK;
}

sn_status sn_argument_word(const sn_arguments *a, const char *name, const char *const *words, int *index, sn_error *error) {
    const char *text = sn_argument(a, name);
    if (!text) return SN_OK;
    sn_buf list = {0};
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *index = i;
            sn_buf_free(&list);
            return SN_OK;
        }
        sn_buf_printf(&list, "%s%s", i ? " or " : "", words[i]);
    }
    sn_status status = sn_fail(error, SN_ERROR_USAGE, "%s: --%s: found \"%s\", expected %s", a->command, name, text, list.length ? list.data : "nothing");
    sn_buf_free(&list);
    return status;
}

static void help_line(const sn_option *o, sn_buf *out) {
    char left[64];
    snprintf(left, sizeof left, "%c%c%c --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name, o->value ? " " : "", o->value ? o->value : "");
    sn_buf_printf(out, "  %-30s %s\n", left, o->help);
}

void sn_arguments_help(const sn_option *const *tables, sn_buf *out) {
    for (; *tables; tables++)
        for (const sn_option *o = *tables; o->name; o++) help_line(o, out);
    help_line(&help, out);
}
