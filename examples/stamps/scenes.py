#!/usr/bin/python3
"""Scenes of stamps, and conversations about them in English and Russian.

    scenes.py FOLDER --scenes 24000 --seed tower --names four     what the demo model's tower begins with
    scenes.py FOLDER --scenes 24000 --seed 5 --names quadrants    and goes on with
    scenes.py FOLDER --scenes 24000 --seed 1                      what the model is taught to talk about
    scenes.py FOLDER --scenes 150 --seed 2 --questions            what it is chosen by
    scenes.py FOLDER --scenes 24000 --seed 11 --fromage           captions, and a gallery to search in

A scene is a picture of 112 x 112 with one to four things, each in a quadrant of its own, on a background of one of eight
colours. The things are stamps of Debian's tuxpaint-stamps-default (GPL-2). Needs python3-pil and python3-numpy.

FOLDER gets pictures/ and, in LLaVA's conversation format,
  captions.json   one description a picture: LLaVA's stage 1
  places.json     its things in any order, each with its place: what the language model is taught before
  chat.json       questions of all kinds in turns: LLaVA's stage 2
  text.txt        words for the tokenizer
or, with --names, names.json: what stands in the four quadrants, and nothing else. "four" has four things in every picture;
"quadrants" leaves some empty ("nothing") and says the colour last, and has the same in either language (read.json), and
places.json and chat.json, too;
or, with --questions, questions.jsonl: every question by itself with its right answer;
or, with --fromage, captions.jsonl and text.txt, and in gallery/ 500 more pictures with gallery.jsonl: no two hold the same things,
and no picture of the training sets (--seed, and those above) holds the things of one of them."""
import argparse
import json
import multiprocessing
import os
import random
import re

import numpy
from PIL import Image

STAMPS = "/usr/share/tuxpaint/stamps"
SIZE, HALF = 112, 56
COLOURS = [("blue", "синий", (50, 100, 200)), ("red", "красный", (200, 55, 50)), ("green", "зелёный", (60, 160, 75)),
           ("yellow", "жёлтый", (230, 210, 70)), ("grey", "серый", (128, 128, 128)), ("white", "белый", (236, 236, 236)),
           ("black", "чёрный", (22, 22, 22)), ("purple", "фиолетовый", (130, 65, 165))]
PLACES = {"en": ["at the top left", "at the top right", "at the bottom left", "at the bottom right"],
          "ru": ["вверху слева", "вверху справа", "внизу слева", "внизу справа"]}
NOTHING = {"en": "nothing", "ru": "ничего"}
NUMBERS = {"en": ["", "One.", "Two.", "Three.", "Four."], "ru": ["", "Один.", "Два.", "Три.", "Четыре."]}
LANGUAGES = ("en", "ru")
FOUR, MOSTLY_FOUR = (0, 0, 0, 1), (1, 1, 2, 6)


def caption(path):
    """The English and the Russian caption beside a stamp."""
    lines = open(os.path.splitext(path)[0] + ".txt", encoding="utf-8", errors="replace").read().split("\n")
    russian = [line[8:].strip() for line in lines if line.startswith("ru.utf8=")]
    return lines[0].strip(), russian[0] if russian else ""


def has_sound(path):
    stem = os.path.splitext(path)[0]
    return any(os.path.exists(stem + end) for end in (".ogg", ".wav"))


def find_things():
    """96 stamps with names of one to three words; those with a sound of their own first."""
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(STAMPS) for name in names if name.endswith(".png"))
    found, english_seen, russian_seen = [], set(), set()
    for path in paths:
        stem = os.path.splitext(path)[0]
        if "/symbols/" in path or not os.path.exists(stem + ".txt"):
            continue
        english, russian = caption(path)
        match = re.fullmatch(r"(An?) ([A-Za-z][a-z]*(?: [a-z]+){0,2})\.", english)
        if not match or not re.fullmatch(r"[А-Яа-яЁё -]{3,28}\.?", russian):
            continue
        name, russian = match.group(2).lower(), russian.rstrip(".").lower()
        if name in english_seen or russian in russian_seen:
            continue
        english_seen.add(name)
        russian_seen.add(russian)
        found.append({"path": path, "en": name, "ru": russian, "sound": has_sound(path)})
    found.sort(key=lambda thing: not thing["sound"])
    return found[:96]


def article(name):
    return ("an " if name[0] in "aeiou" else "a ") + name


def capital(text):
    return text[0].upper() + text[1:]


# ---- pictures ----

def cut(path):
    """A stamp without its empty margin."""
    stamp = Image.open(path).convert("RGBA")
    return stamp.crop(stamp.getchannel("A").getbbox())


def paint(things, scene, rng):
    colour = numpy.array(COLOURS[scene["colour"]][2], float) + [rng.uniform(-18, 18) for _ in range(3)]
    ramp = numpy.linspace(-1, 1, SIZE) * rng.uniform(-18, 18)
    ground = numpy.zeros((SIZE, SIZE, 3)) + colour + (ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None])
    picture = Image.fromarray(numpy.clip(ground, 0, 255).astype(numpy.uint8))
    for quadrant, thing in scene["at"].items():
        stamp = things[thing]["image"]
        side = rng.randint(42, 56)
        scale = side / max(stamp.size)
        stamp = stamp.resize((max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = quadrant % 2 * HALF + rng.randint(0, HALF - stamp.width)
        y = quadrant // 2 * HALF + rng.randint(0, HALF - stamp.height)
        picture.paste(stamp, (x, y), stamp)
    noise = numpy.random.default_rng(rng.getrandbits(32)).normal(0, 2, (SIZE, SIZE, 1))
    pixels = numpy.asarray(picture, float) * rng.uniform(0.85, 1.12) + noise
    return Image.fromarray(numpy.clip(pixels, 0, 255).round().astype(numpy.uint8))


def imagine(number, seed, weights=(4, 4, 2, 2)):
    """What is in a scene, and the generator for all that follows. One to four things are as frequent as their weights say."""
    rng = random.Random(f"{seed}/{number}")
    if weights == FOUR:
        return {"number": number, "colour": rng.randrange(len(COLOURS)), "at": dict(enumerate(rng.sample(range(96), 4)))}, rng
    count = rng.choices((1, 2, 3, 4), weights)[0]
    quadrants = sorted(rng.sample(range(4), count))
    return {"number": number, "colour": rng.randrange(len(COLOURS)), "at": dict(zip(quadrants, rng.sample(range(96), count)))}, rng


# ---- questions and answers ----

def describe(things, scene, language, rng):
    ask = rng.choice(("Describe the picture.", "What do you see?") if language == "en" else ("Опиши картинку.", "Что ты видишь?"))
    places = PLACES[language]
    if language == "ru":
        return ask, capital(", ".join(f"{places[q]} — {things[t]['ru']}" for q, t in scene["at"].items())) + "."
    parts = [f"{article(things[t]['en'])} {places[q]}" for q, t in scene["at"].items()]
    return ask, "I see " + (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]) + "."


def count(things, scene, language):
    return ("How many things are there?" if language == "en" else "Сколько здесь предметов?"), NUMBERS[language][len(scene["at"])]


def ground(things, scene, language):
    return ("What colour is the background?" if language == "en" else "Какого цвета фон?"), capital(COLOURS[scene["colour"]][language == "ru"]) + "."


def what(things, scene, language, quadrant):
    ask = f"What is {PLACES['en'][quadrant]}?" if language == "en" else f"Что {PLACES['ru'][quadrant]}?"
    if quadrant not in scene["at"]:
        return ask, "Nothing." if language == "en" else "Ничего."
    name = things[scene["at"][quadrant]][language]
    return ask, capital(article(name) if language == "en" else name) + "."


def where(things, scene, language, quadrant):
    name = things[scene["at"][quadrant]][language]
    return (f"Where is the {name}?" if language == "en" else f"Где {name}?"), capital(PLACES[language][quadrant]) + "."


def exists(things, scene, language, thing):
    name, there = things[thing][language], thing in scene["at"].values()
    if language == "en":
        return f"Is there {article(name)}?", "Yes." if there else "No."
    return f"Здесь есть {name}?", "Да." if there else "Нет."


def absent(scene, rng):
    while True:
        thing = rng.randrange(96)
        if thing not in scene["at"].values():
            return thing


def facts(things, scene, rng):
    """All there is to know about a scene, for the vocabulary."""
    turns = [what(things, scene, rng.choice(LANGUAGES), q) for q in range(4)]
    turns += [ground(things, scene, rng.choice(LANGUAGES)), count(things, scene, rng.choice(LANGUAGES))]
    rng.shuffle(turns)
    return turns


def chat(things, scene, rng):
    """Questions of which none gives another one's answer away: a thing is asked about once, and a description comes last."""
    turns = []
    for quadrant, thing in scene["at"].items():
        kind = rng.choices(("where", "exists", "what"), (4, 4, 1))[0]
        language = rng.choice(LANGUAGES)
        if kind == "what":
            turns.append(what(things, scene, language, quadrant))
        elif kind == "where":
            turns.append(where(things, scene, language, quadrant))
        else:
            turns.append(exists(things, scene, language, thing))
    for _ in range(rng.choice((1, 1, 2))):
        turns.append(exists(things, scene, rng.choice(LANGUAGES), absent(scene, rng)))
    turns += [ask(things, scene, rng.choice(LANGUAGES)) for ask in (count, ground) if rng.random() < 0.3]
    empty = [q for q in range(4) if q not in scene["at"]]
    if empty and rng.random() < 0.2:
        turns.append(what(things, scene, rng.choice(LANGUAGES), rng.choice(empty)))
    rng.shuffle(turns)
    if rng.random() < 0.35:
        turns.append(describe(things, scene, rng.choice(LANGUAGES), rng))
    return turns


def questions(things, scene, rng):
    for language in LANGUAGES:
        present = list(scene["at"].values())
        there = rng.random() < 0.5
        asked = {"describe": describe(things, scene, language, rng), "count": count(things, scene, language), "ground": ground(things, scene, language),
                 "what": what(things, scene, language, rng.randrange(4)), "where": where(things, scene, language, rng.choice(list(scene["at"]))),
                 "exists": exists(things, scene, language, rng.choice(present) if there else absent(scene, rng))}
        for kind, (question, answer) in asked.items():
            yield {"scene": f"scenes/{scene['number']:03}.png", "kind": kind, "language": language, "question": question, "answer": answer}


def caption_of(things, scene):
    """"an owl top left, a bee bottom right, blue": short, and every word counts."""
    places = ["top left", "top right", "bottom left", "bottom right"]
    return ", ".join([f"{article(things[t]['en'])} {places[q]}" for q, t in scene["at"].items()] + [COLOURS[scene["colour"]][0]])


def names_of(things, scene, language="en", colour=True):
    names = [things[scene["at"][q]][language] if q in scene["at"] else NOTHING[language] for q in range(4)]
    return ", ".join(names + [COLOURS[scene["colour"]][language == "ru"]] if colour else names)


def places_of(things, scene, rng):
    """"owl at the top left, bee at the bottom right" in any order: who has read a name must look for it to know the place."""
    language, there = rng.choice(LANGUAGES), list(scene["at"].items())
    rng.shuffle(there)
    return ", ".join(f"{things[t][language]} {PLACES[language][q]}" for q, t in there)


def conversation(number, turns, image=None):
    said = []
    for i, (question, answer) in enumerate(turns):
        said += [{"from": "human", "value": ("<image>\n" if image and i == 0 else "") + question}, {"from": "gpt", "value": answer}]
    return {"id": str(number)} | ({"image": image} if image else {}) | {"conversations": said}


# ---- all of it ----

THINGS = find_things()


def save(scene, rng, path):
    for thing in scene["at"].values():
        if "image" not in THINGS[thing]:
            THINGS[thing]["image"] = cut(THINGS[thing]["path"])
    paint(THINGS, scene, rng).save(path)


def place(number):
    """A thousand pictures to a folder."""
    return f"{number // 1000:03}/{number % 1000:03}.png"


def make_talk(job):
    folder, number, seed = job
    scene, rng = imagine(number, seed)
    image = place(number)
    save(scene, rng, f"{folder}/pictures/{image}")
    language = rng.choice(LANGUAGES)
    places = places_of(THINGS, scene, random.Random(f"places/{seed}/{number}"))
    return {"facts": conversation(number, facts(THINGS, scene, rng)), "places": conversation(number, [("Find.", places)], image), "captions": conversation(number, [describe(THINGS, scene, language, rng)], image),
            "chat": conversation(number, chat(THINGS, scene, rng), image)}


def make_names(job):
    folder, number, seed, weights = job
    scene, rng = imagine(number, seed, weights)
    image = place(number)
    save(scene, rng, f"{folder}/pictures/{image}")
    if weights == FOUR:
        return {"names": conversation(number, [("Name.", names_of(THINGS, scene, colour=False))], image)}
    either = random.Random(f"both/{number}").choice(LANGUAGES)
    return {"names": conversation(number, [("Name.", names_of(THINGS, scene))], image), "read": conversation(number, [("Name.", names_of(THINGS, scene, either))], image),
            "places": conversation(number, [("Find.", places_of(THINGS, scene, random.Random(f"places/{seed}/{number}")))], image),
            "chat": conversation(number, chat(THINGS, scene, random.Random(f"chat/{number}")), image)}


def make_questions(job):
    folder, number, seed = job
    scene, rng = imagine(number, seed)
    save(scene, rng, f"{folder}/scenes/{number:03}.png")
    return list(questions(THINGS, scene, rng))


def make_caption(job):
    """A picture with its caption; the names are for those who count them."""
    folder, image, number, seed = job
    scene, rng = imagine(number, seed)
    save(scene, rng, f"{folder}/{image}")
    return {"image": image, "caption": caption_of(THINGS, scene), "names": [THINGS[t]["en"] for t in scene["at"].values()]}


def write(path, rows):
    """A list of conversations, or with .jsonl a row a line."""
    with open(path, "w", encoding="utf-8") as out:
        if path.endswith(".jsonl"):
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            json.dump(rows, out, ensure_ascii=False, indent=0)


def contents(number, seed, weights=(4, 4, 2, 2)):
    return frozenset(imagine(number, seed, weights)[0]["at"].values())


def talk(pool, folder, scenes, seed):
    made = pool.map(make_talk, [(folder, n, seed) for n in range(scenes)], chunksize=100)
    for name in ("captions", "places", "chat"):
        write(f"{folder}/{name}.json", [scene[name] for scene in made])
    with open(f"{folder}/text.txt", "w", encoding="utf-8") as out:
        for scene in made[:20000]:
            turns = [turn["value"].replace("<image>\n", "") for name in ("facts", "captions", "chat") for turn in scene[name]["conversations"]]
            text = "".join(f" USER: {q}\n ASSISTANT: {a}\n" for q, a in zip(turns[::2], turns[1::2]))
            out.write(re.sub("([:.?,])", r" \1 ", text))  # so that no piece holds a name together with what follows it


def captioned(pool, folder, scenes, seed):
    """captions.jsonl, text.txt and the gallery."""
    taken = {contents(n, 1) for n in range(24000)} | {contents(n, seed) for n in range(scenes)}
    taken |= {contents(n, "tower", FOUR) for n in range(24000)} | {contents(n, 5, MOSTLY_FOUR) for n in range(48000)}
    unseen, number = [], scenes
    while len(unseen) < 500:
        if contents(number, seed) not in taken:
            taken.add(contents(number, seed))
            unseen.append(number)
        number += 1
    os.makedirs(f"{folder}/gallery", exist_ok=True)
    captions = pool.map(make_caption, [(folder, f"pictures/{place(n)}", n, seed) for n in range(scenes)], chunksize=100)
    write(f"{folder}/captions.jsonl", captions)
    write(f"{folder}/gallery.jsonl", pool.map(make_caption, [(folder, f"gallery/{i:03}.png", n, seed) for i, n in enumerate(unseen)], chunksize=100))
    with open(f"{folder}/text.txt", "w", encoding="utf-8") as out:
        out.writelines(line["caption"] + "\n" for line in captions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--scenes", type=int, default=24000)
    parser.add_argument("--seed", default="1")
    what_for = parser.add_mutually_exclusive_group()
    what_for.add_argument("--names", choices=("four", "quadrants"))
    what_for.add_argument("--questions", action="store_true")
    what_for.add_argument("--fromage", action="store_true")
    options = parser.parse_args()
    folder, scenes, seed = options.folder, options.scenes, options.seed
    for i in range((scenes + 999) // 1000):
        os.makedirs(f"{folder}/scenes" if options.questions else f"{folder}/pictures/{i:03}", exist_ok=True)
    with multiprocessing.Pool() as pool:
        if options.names:
            weights = FOUR if options.names == "four" else MOSTLY_FOUR
            made = pool.map(make_names, [(folder, n, seed, weights) for n in range(scenes)], chunksize=100)
            for name in made[0]:
                write(f"{folder}/{name}.json", [scene[name] for scene in made])
        elif options.questions:
            made = pool.map(make_questions, [(folder, n, seed) for n in range(scenes)])
            write(f"{folder}/questions.jsonl", [row for rows in made for row in rows])
        elif options.fromage:
            captioned(pool, folder, scenes, seed)
        else:
            talk(pool, folder, scenes, seed)


if __name__ == "__main__":
    main()
