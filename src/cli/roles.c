/* One table: which option fills which role. */
#include "cli/roles.h"

#include <string.h>

sn_status sn_role_option(int argc, char **argv, int *i, sn_model_files *files, bool *taken, sn_error *error) {
    const struct { const char *option; const char **place; } roles[] = {
        {"--llm", &files->llm}, {"--vision", &files->vision}, {"--connector", &files->connector}, {"--base", &files->base}, {"--delta", &files->delta},
        {"--tokenizer", &files->tokenizer}, {"--models", &files->models}, {"--system", &files->system}};
    *taken = false;
    for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
        if (strcmp(argv[*i], roles[r].option) != 0) continue;
        if (*i + 1 >= argc) return sn_fail(error, SN_ERROR_USAGE, "%s: expected a value behind it", argv[*i]);
        *roles[r].place = argv[++*i];
        *taken = true;
        return SN_OK;
    }
    return SN_OK;
}
