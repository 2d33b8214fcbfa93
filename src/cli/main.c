/* sensorium: finds the command, prints the one error line. */
#include "cli/command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const sn_command *const commands[] = {
    &sn_command_inspect,
    &sn_command_trace,
};
enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out) {
    fputs("sensorium: multimodal assistants from their published checkpoints\n\nusage: sensorium COMMAND [ARGUMENTS]\n\n", out);
    for (int i = 0; i < NUM_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`sensorium COMMAND --help` explains a command and shows an example.\n", out);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    for (int i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i]->name) != 0) continue;
        for (int a = 2; a < argc; a++)
            if (strcmp(argv[a], "--help") == 0 || strcmp(argv[a], "-h") == 0) {
                fputs(commands[i]->usage, stdout);
                return 0;
            }
        sn_error error = {0};
        sn_status status = commands[i]->run(argc - 1, argv + 1, &error);
        if (status) fprintf(stderr, "sensorium: error: %s\n", error.message);
        return status == SN_OK ? 0 : status == SN_ERROR_USAGE ? 2 : 1;
    }
    fprintf(stderr, "sensorium: error: there is no command %s; `sensorium --help` lists them\n", argv[1]);
    return 2;
}
