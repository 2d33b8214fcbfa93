/* The table of templates and the one way to render them. */
#include "systems/template.h"

#include <string.h>

#define HUMAN "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions."
#define USER "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions."

static const sn_template templates[] = {
    {"llava_v1", SN_TEMPLATE_TWO, HUMAN, "USER", "ASSISTANT", " ", "</s>", {0}, "</s>", false},
    {"vicuna_v1", SN_TEMPLATE_TWO, USER, "USER", "ASSISTANT", " ", "</s>", {0}, "</s>", false},
    {"llava_v0", SN_TEMPLATE_SINGLE, HUMAN, "Human", "Assistant", "###", NULL, {0}, "###", false},
    {"llava_llama_2", SN_TEMPLATE_LLAMA_2,
     "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, and assist the user with a variety of tasks using natural language.",
     "USER", "ASSISTANT", "<s>", "</s>", {0}, "</s>", false},
    {"plain", SN_TEMPLATE_PLAIN, "", "", "", "\n", NULL, {0}, "\n", false},
    {"hf", SN_TEMPLATE_HF, "", "USER", "ASSISTANT", " ", NULL, {0}, NULL, false},
};

/* The same names meant other things in the code that the v0 deltas were demonstrated with. */
static const sn_template templates_may_2023[] = {
    {"multimodal", SN_TEMPLATE_SINGLE,
     "You are LLaVA, a large language and vision assistant trained by UW Madison WAIV Lab.You are able to understand the visual content that the user provides, and assist the user with a variety of "
     "tasks using natural language.Follow the instructions carefully and explain your answers in detail.",
     "Human", "Assistant", "###", NULL, {"Hi!", "Hi there!  How can I help you today?\n"}, "###", true},
#define RENEWABLE_QUESTION "What are the key differences between renewable and non-renewable energy sources?"
#define RENEWABLE_ANSWER                                                                                                                               \
    "Renewable energy sources are those that can be replenished naturally in a relatively short amount of time, such as solar, wind, hydro, "         \
    "geothermal, and biomass. Non-renewable energy sources, on the other hand, are finite and will eventually be depleted, such as coal, oil, and "  \
    "natural gas. Here are some key differences between renewable and non-renewable energy sources:\n1. Availability: Renewable energy sources are " \
    "virtually inexhaustible, while non-renewable energy sources are finite and will eventually run out.\n2. Environmental impact: Renewable energy " \
    "sources have a much lower environmental impact than non-renewable sources, which can lead to air and water pollution, greenhouse gas emissions, " \
    "and other negative effects.\n3. Cost: Renewable energy sources can be more expensive to initially set up, but they typically have lower "       \
    "operational costs than non-renewable sources.\n4. Reliability: Renewable energy sources are often more reliable and can be used in more remote " \
    "locations than non-renewable sources.\n5. Flexibility: Renewable energy sources are often more flexible and can be adapted to different "       \
    "situations and needs, while non-renewable sources are more rigid and inflexible.\n6. Sustainability: Renewable energy sources are more "        \
    "sustainable over the long term, while non-renewable sources are not, and their depletion can lead to economic and social instability.\n"
    {"v1", SN_TEMPLATE_SINGLE, HUMAN, "Human", "Assistant", "###", NULL, {RENEWABLE_QUESTION, RENEWABLE_ANSWER}, "###", true},
    {"default", SN_TEMPLATE_SINGLE, HUMAN, "Human", "Assistant", "###", NULL, {RENEWABLE_QUESTION, RENEWABLE_ANSWER}, "###", true},
};

const sn_template *sn_template_find(const char *name, bool code_of_may_2023) {
    for (size_t i = 0; code_of_may_2023 && i < sizeof templates_may_2023 / sizeof *templates_may_2023; i++)
        if (strcmp(templates_may_2023[i].name, name) == 0) return &templates_may_2023[i];
    if (strcmp(name, "v0") == 0) name = "llava_v0";
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
        if (strcmp(templates[i].name, name) == 0) return &templates[i];
    return NULL;
}

void sn_template_names(sn_buf *out) {
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) sn_buf_printf(out, "%s%s", i ? ", " : "", templates[i].name);
}

typedef struct writer {
    const sn_template *t;
    const sn_request *request;
    const char *image_start, *image_end;
    sn_prompt_text *out;
} writer;

static void put(writer *w, const char *text) { sn_prompt_text_add(w->out, text, false); }

static void put_pictures(writer *w, const sn_message *m, const char *before, const char *after) {
    for (int i = 0; i < m->count; i++) {
        if (!m->content[i].is_media) continue;
        put(w, before);
        put(w, w->image_start);
        sn_prompt_text_media(w->out, m->content[i].text);
        put(w, w->image_end);
        put(w, after);
    }
}

/* A turn's own words: pictures first, each on a line of its own, then all text. */
static void put_message(writer *w, const sn_message *m) {
    if (!w->t->image_last) put_pictures(w, m, "", "\n");
    for (int i = 0; i < m->count; i++)
        if (!m->content[i].is_media) sn_prompt_text_add(w->out, m->content[i].text, w->request->literal && m->role == SN_ROLE_USER);
    if (w->t->image_last) put_pictures(w, m, "\n", "");
}

static void put_turn(writer *w, const char *role, const sn_message *m, const char *sep) {
    put(w, role);
    put(w, ": ");
    put_message(w, m);
    put(w, sep);
}

void sn_template_render(const sn_template *t, const sn_request *request, const char *image_start, const char *image_end, sn_prompt_text *out) {
    writer w = {t, request, image_start, image_end, out};
    const sn_message *first = request->messages, *end = first + request->num_messages, *m = first;
    bool has_system = m < end && m->role == SN_ROLE_SYSTEM;
    sn_message own = {.role = SN_ROLE_SYSTEM, .content = &(sn_content){.text = t->system}, .count = 1};
    const sn_message *system = has_system ? m++ : &own;
    bool open = m < end && end[-1].role != SN_ROLE_ASSISTANT, begun = false;
    if (t->style == SN_TEMPLATE_SINGLE || t->style == SN_TEMPLATE_TWO) {
        put_message(&w, system);
        put(&w, t->sep);
        for (int i = 0; i < 2 && t->example[0]; i++)
            put_turn(&w, i ? t->assistant : t->user, &(sn_message){.content = &(sn_content){.text = t->example[i]}, .count = 1}, t->sep);
    } else if (has_system && t->style == SN_TEMPLATE_HF) {
        put_message(&w, system);
        begun = true;
    }
    for (; m < end; m++) {
        bool answer = m->role == SN_ROLE_ASSISTANT;
        switch (t->style) {
        case SN_TEMPLATE_SINGLE: put_turn(&w, answer ? t->assistant : t->user, m, t->sep); break;
        case SN_TEMPLATE_TWO: put_turn(&w, answer ? t->assistant : t->user, m, answer ? t->sep2 : t->sep); break;
        case SN_TEMPLATE_HF: put_turn(&w, begun ? (answer ? " ASSISTANT" : " USER") : (answer ? "ASSISTANT" : "USER"), m, ""); break;
        case SN_TEMPLATE_PLAIN:
            put_pictures(&w, m, "", "");
            for (int i = 0; i < m->count; i++)
                if (!m->content[i].is_media) sn_prompt_text_add(out, m->content[i].text, request->literal && !answer);
            if (answer) put(&w, t->sep);
            break;
        case SN_TEMPLATE_LLAMA_2:
            if (answer) {
                put(&w, " ");
                put_message(&w, m);
                put(&w, " </s>");
                break;
            }
            put(&w, begun ? "<s>[INST] " : "[INST] ");
            if (!begun) {
                put(&w, "<<SYS>>\n");
                put_message(&w, system);
                put(&w, "\n<</SYS>>\n\n");
            }
            put_message(&w, m);
            put(&w, " [/INST]");
            break;
        }
        begun = true;
    }
    if (!open) return;
    if (t->style == SN_TEMPLATE_SINGLE || t->style == SN_TEMPLATE_TWO || t->style == SN_TEMPLATE_HF) {
        put(&w, t->style == SN_TEMPLATE_HF ? " " : "");
        put(&w, t->assistant);
        put(&w, ":");
    }
}
