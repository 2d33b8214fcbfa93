/* Answers about a picture token by token:  stream MODEL picture.jpg "question"...
 *
 * Every further question continues the conversation. Ctrl-C stops the answer. */
#include <sensorium/sensorium.h>

#include <signal.h>
#include <stdio.h>

static sn_chat *chat;

static void interrupted(int number) {
    (void)number;
    sn_chat_cancel(chat); /* only sets a flag: may be called from a handler */
}

static void print(void *user, const char *text, size_t length) {
    fwrite(text, 1, length, user);
    fflush(user);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL PICTURE QUESTION...\n", argv[0]);
        return 2;
    }
    sn_error *error = sn_error_new();
    sn_context *context = NULL;
    sn_assistant *assistant = NULL;
    sn_status status = sn_context_new(0, &context, error);
    if (!status) status = sn_assistant_open_path(context, argv[1], &assistant, error);
    if (!status) status = sn_chat_new(assistant, NULL, &chat, error);
    if (!status) status = sn_chat_add_picture(chat, argv[2], error);
    signal(SIGINT, interrupted);
    for (int i = 3; i < argc && !status; i++) {
        printf("> %s\n", argv[i]);
        status = sn_chat_add_text(chat, argv[i], error);
        if (!status) status = sn_chat_answer(chat, print, stdout, error);
        putchar('\n');
    }
    signal(SIGINT, SIG_DFL);
    if (status) fprintf(stderr, "%s\n", sn_error_message(error));

    sn_chat_free(chat);
    sn_assistant_close(assistant);
    sn_context_free(context);
    sn_error_free(error);
    return status != SN_OK;
}
