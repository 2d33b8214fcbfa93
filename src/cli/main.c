/* sensorium: finds the command, reads its arguments, prints the one error line. */
#include "base/cpu.h"
#include "cli/command.h"
#include "cli/terminal.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const sn_command *const commands[] = {
    &sn_command_bench,
    &sn_command_chat,
    &sn_command_compare,
    &sn_command_convert,
    &sn_command_eval,
    &sn_command_index,
    &sn_command_inspect,
    &sn_command_search,
    &sn_command_tokenize,
    &sn_command_tokenizer,
    &sn_command_trace,
    &sn_command_train,
};
enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out) {
    fputs("sensorium: multimodal assistants from their published checkpoints\n\nusage: sensorium COMMAND [ARGUMENTS]\n\n", out);
    for (int i = 0; i < NUM_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`sensorium COMMAND --help` explains a command and shows an example; `sensorium --version` tells what was built.\n", out);
}

static void print_version(void) {
    sn_cpu cpu = sn_cpu_features();
    printf("sensorium %s\nfeatures: %s\nkernels: %s%s%s (SN_CPU=plain|avx2|avx512|amx caps them)\nprocessors: %d\n", SN_VERSION, SN_FEATURES, sn_cpu_level_name(cpu.level),
           cpu.avx512_bf16 ? " +avx512_bf16" : "", cpu.amx_bf16 ? " +amx_bf16" : "", sn_cpu_count());
}

static void print_command_help(const sn_command *c) {
    sn_buf options = {0};
    sn_arguments_help(c->tables, &options);
    printf("usage: sensorium %s [OPTIONS] %s\n\n%s\n\noptions:\n%s\nexample: %s\n", c->name, c->plain, c->details, options.data ? options.data : "", c->example);
    sn_buf_free(&options);
}

static sn_status run(const sn_command *c, int argc, char **argv, sn_error *error) {
    sn_arguments arguments;
    sn_status status = sn_arguments_read(argc, argv, c->tables, &arguments, error);
    if (status) return status;
    if (sn_argument_given(&arguments, "help")) print_command_help(c);
    else if (arguments.num_plain < c->min_plain || (c->max_plain >= 0 && arguments.num_plain > c->max_plain))
        status = sn_fail(error, SN_ERROR_USAGE, "%s: found %d arguments, expected %s; see `sensorium %s --help`", c->name, arguments.num_plain, c->plain, c->name);
    else status = c->run(&arguments, error);
    sn_arguments_free(&arguments);
    return status;
}

static int exit_code(sn_status status) {
    if (status == SN_ERROR_CANCELLED) return 130;
    return status == SN_OK ? 0 : status == SN_ERROR_USAGE ? 2 : 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_CTYPE, ""); /* for editing lines; numbers stay those of C */
    const char *name = argc > 1 ? argv[1] : "";
    sn_error error = {0};
    sn_status status = SN_ERROR_USAGE;
    const sn_command *command = NULL;
    for (int i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0) command = commands[i];
    if (command) {
        status = run(command, argc - 1, argv + 1, &error);
    } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        status = SN_OK;
    } else if (strcmp(name, "--version") == 0) {
        print_version();
        status = SN_OK;
    } else if (argc < 2) {
        print_help(stderr);
        return 2;
    } else {
        sn_fail(&error, SN_ERROR_USAGE, "there is no command %s; `sensorium --help` lists them", name);
    }
    if (!status) status = sn_print_status(&error);
    if (status && status != SN_ERROR_CANCELLED && error.message[0]) fprintf(stderr, "sensorium: error: %s\n", error.message);
    return exit_code(status);
}
