"""Answers with pictures through the shared library: gallery.py LIBRARY SENSORIUM GOLDENS."""
import ctypes
import pathlib
import shutil
import subprocess
import sys
import tempfile
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_void_p

library, sensorium, goldens = sys.argv[1:]
sn = ctypes.CDLL(library)
for name in ("sn_error_message", "sn_chat_part_text", "sn_chat_part_path"):
    getattr(sn, name).restype = c_char_p
for name in ("sn_error_new", "sn_options_new", "sn_files_new"):
    getattr(sn, name).restype = c_void_p
sn.sn_chat_part_score.restype = c_double
error, options, files = c_void_p(sn.sn_error_new()), c_void_p(sn.sn_options_new()), c_void_p(sn.sn_files_new())
TEXT, PICTURE = 1, 2


def check(status):
    if status:
        sys.exit(sn.sn_error_message(error).decode())


case = pathlib.Path(goldens) / "fromage/generate"
parts = {"main": case / "model", "llm": case / "model/opt", "vision": case / "model/clip"}
context, assistant, chat = c_void_p(), c_void_p(), c_void_p()
heard = []
LOG = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
log = LOG(lambda user, message: heard.append(message.decode()))
check(sn.sn_context_new(c_int(1), byref(context), error))
sn.sn_context_set_log(context, log, None)
for role, path in parts.items():
    check(sn.sn_files_set(files, role.encode(), str(path).encode(), error))
check(sn.sn_assistant_open(context, files, byref(assistant), error))
check(sn.sn_options_set(options, b"max_new_tokens", b"4", error))
check(sn.sn_chat_new(assistant, options, byref(chat), error))


def ask():
    """[(kind, text or path, score), …]"""
    sn.sn_chat_reset(chat)
    check(sn.sn_chat_add_text(chat, b"show me [RET]", error))
    check(sn.sn_chat_answer(chat, None, None, error))
    kinds = [sn.sn_chat_part_kind(chat, i) for i in range(sn.sn_chat_num_parts(chat))]
    return [(k, (sn.sn_chat_part_path(chat, i) if k == PICTURE else sn.sn_chat_part_text(chat, i)).decode(), sn.sn_chat_part_score(chat, i)) for i, k in enumerate(kinds)]


with tempfile.TemporaryDirectory() as here:
    here = pathlib.Path(here)
    (here / "pictures").mkdir()
    for name in "ab":
        shutil.copy(case / "inputs/a.png", here / "pictures" / f"{name}.png")
    subprocess.run([sensorium, "index", "-q", parts["main"], "--llm", parts["llm"], "--vision", parts["vision"], here / "pictures", "-o", here / "my.db"], check=True, stdout=subprocess.DEVNULL)
    clip = pathlib.Path(goldens) / "components/clip_vit/hf-clip"
    subprocess.run([sensorium, "index", "-q", clip / "model", clip / "inputs", "-o", here / "clip.db"], check=True, stdout=subprocess.DEVNULL)

    assert [part[0] for part in ask()] == [TEXT], "without a gallery: a text alone"
    check(sn.sn_chat_set_gallery(chat, str(here / "my.db").encode(), error))
    answer = ask()
    assert [part[0] for part in answer] == [TEXT, PICTURE] and answer[1][1].endswith("/pictures/a.png") and -1 <= answer[1][2] <= 1, answer

    # a gallery of another model, or none, is refused, and the one that was set stays
    for wrong, why in (("clip.db", "was made by another model"), ("none.db", "No such file")):
        assert sn.sn_chat_set_gallery(chat, str(here / wrong).encode(), error) and why in sn.sn_error_message(error).decode()
    assert ask() == answer

    # deleted since: told, and the next one taken
    (here / "pictures/a.png").unlink()
    assert ask()[1][1].endswith("/pictures/b.png") and any("a.png" in message for message in heard), heard
    check(sn.sn_chat_set_gallery(chat, None, error))
    assert [part[0] for part in ask()] == [TEXT]
    check(sn.sn_chat_set_gallery(chat, str(parts["main"] / "cc3m_embeddings.pkl").encode(), error))
    assert ask()[1][1].startswith("http://")

sn.sn_chat_free(chat)
sn.sn_assistant_close(assistant)
sn.sn_context_free(context)
sn.sn_files_free(files)
sn.sn_options_free(options)
sn.sn_error_free(error)
