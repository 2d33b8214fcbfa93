/* Describes a picture:  describe MODEL picture.jpg ["question"]
 *
 *     cc describe.c $(pkg-config --cflags --libs sensorium) -o describe
 */
#include <sensorium/sensorium.h>

#include <stdio.h>

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL PICTURE [QUESTION]\n", argv[0]);
        return 2;
    }
    sn_error *error = sn_error_new();
    sn_options *options = sn_options_new();
    sn_context *context = NULL;
    sn_assistant *assistant = NULL;
    sn_chat *chat = NULL;

    /* Any call that fails ends the chain; the error says why. */
    bool failed = sn_options_set(options, "max_new_tokens", "100", error) ||
                  sn_context_new(0, &context, error) ||
                  sn_assistant_open_path(context, argv[1], &assistant, error) ||
                  sn_chat_new(assistant, options, &chat, error) ||
                  sn_chat_add_picture(chat, argv[2], error) ||
                  sn_chat_add_text(chat, argc > 3 ? argv[3] : "Describe the picture.", error) ||
                  sn_chat_answer(chat, NULL, NULL, error);
    if (failed) fprintf(stderr, "%s\n", sn_error_message(error));
    for (int part = 0; !failed && part < sn_chat_num_parts(chat); part++)
        if (sn_chat_part_kind(chat, part) == SN_PART_TEXT) puts(sn_chat_part_text(chat, part));

    sn_chat_free(chat);
    sn_assistant_close(assistant);
    sn_context_free(context);
    sn_options_free(options);
    sn_error_free(error);
    return failed;
}
