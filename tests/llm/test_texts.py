"""Texts and conversations in every form, and where an implicit prompt ends."""

import pytest
from pool_files import SECRET, read, refused, rows, said

ASKED = [said("system", SECRET), said("user", "why?")]
YES, NO = said("assistant", "good"), said("assistant", "not so")
CONVERSATIONS = {
    "explicit prompt": {"prompt": ASKED, "chosen": [YES], "rejected": [NO]},
    "implicit prompt": {"chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "prompt repeated": {"prompt": ASKED, "chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "prompt as text too": {"prompt": "why?", "chosen": [*ASKED, YES], "rejected": [*ASKED, NO]},
    "plain responses": {"prompt": ASKED, "chosen": "good", "rejected": "not so"},
    "no system prompt": {
        "chosen": [said("system", ""), *ASKED[1:], YES],
        "rejected": [said("system", ""), *ASKED[1:], NO],
    },
    "other keys": {"prompt": ASKED, "chosen": [{**YES, "name": None}], "rejected": [NO]},
}


@pytest.mark.parametrize("form", CONVERSATIONS)
def test_conversations_in_every_form(tmp_path, form):
    pool = read(tmp_path, [CONVERSATIONS[form]])
    turns = [said("system", ""), ASKED[1]] if form == "no system prompt" else ASKED
    assert pool.prompts == (tuple(turns),)
    assert sorted(pool.responses[0], key=str) == sorted([(YES,), (NO,)], key=str)


def test_a_plain_prompt_of_conversations_is_the_users_turn(tmp_path):
    pool = read(tmp_path, [{"prompt": "why?", "chosen": [YES], "rejected": [NO]}])
    assert pool.prompts == ((said("user", "why?"),),)


MARKED = [  # what stands before the answer in plain transcripts and behind a chat template
    "\n\nHuman: why?\n\nAssistant:",
    "\n\nHuman: why?\n\nAssistant: so.\n\nHuman: why so?\n\nAssistant:",
    "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] why? [/INST]",
    "### Instruction:\nwhy?\n\n### Response:\n",
]


@pytest.mark.parametrize("prompt", MARKED)
def test_the_prompt_of_plain_strings_ends_at_the_mark_of_the_answer(tmp_path, prompt):
    pool = read(tmp_path, [{"chosen": prompt + " the sky", "rejected": prompt + " the sea"}])
    assert pool.prompts == (prompt,) and set(pool.responses[0]) == {" the sky", " the sea"}


@pytest.mark.parametrize("prompt", MARKED)
def test_pairs_of_one_implicit_prompt_are_never_divided(tmp_path, prompt):
    """Also where both responses of a pair begin alike: TRL's ``extract_prompt`` takes that for prompt."""
    answers = [("It is so", "It is not"), ("Because", "Beer"), ("It may be", "It will be")]
    pool = read(tmp_path, [{"chosen": prompt + a, "rejected": prompt + b} for a, b in answers])
    assert pool.group.tolist() == [0, 0, 0]
    trl = pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    theirs = [
        trl.extract_prompt({"chosen": prompt + a, "rejected": prompt + b}) for a, b in answers
    ]
    assert len({row["prompt"] for row in theirs}) > 1  # the leak that is avoided


def test_without_a_mark_the_equal_words_are_the_prompt_as_in_trl(tmp_path):
    row = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    pool = read(tmp_path, [row])
    assert pool.prompts == ("The sky is",) and pool.guessed == 1
    assert set(pool.responses[0]) == {" blue.", " green."}
    trl = pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    assert trl.extract_prompt(row)["prompt"] == pool.prompts[0]


def test_guesses_that_may_be_one_prompt_are_never_divided(tmp_path):
    """The responses to one prompt may begin alike; those to another prompt stay for themselves."""
    one, other = "Why is the sky blue? ", "How tall is the tower? "
    answers = [(one, "It is so", "It may be"), (one, "Light", "Air"), (other, "Tall", "Small")]
    pool = read(tmp_path, [{"chosen": p + a, "rejected": p + b} for p, a, b in answers])
    assert pool.group.tolist() == [0, 0, 2] and pool.guessed == 3


BROKEN = {
    "empty message": (
        [{"prompt": ASKED, "chosen": [YES], "rejected": [said("assistant", " ")]}],
        r"an empty rejected\[0\].content;",
    ),
    "no messages": ([{"prompt": "x", "chosen": [YES], "rejected": []}], "an empty rejected;"),
    "one word": ([{"chosen": "SECRETly", "rejected": "SECRETs"}], "without a shared beginning"),
    "a mark in one": (
        [{"chosen": "x\n\nAssistant: a", "rejected": "y"}],
        "without a shared beginning",
    ),
    "nothing shared": ([{"chosen": [YES], "rejected": [NO]}], "without a shared beginning"),
    "only the prompt": (
        [{"chosen": [*ASKED, YES], "rejected": ASKED}],
        "a response that only repeats the prompt",
    ),
    "two forms": ([{"prompt": "x", "chosen": [YES], "rejected": SECRET}], "both in one form"),
    "number": ([{**rows(1)[0], "response_a": 5}], "response_a = a number;"),
    "no role": (
        [{"prompt": "x", "chosen": [{"content": SECRET}], "rejected": [NO]}],
        r"chosen\[0\] with keys content; needed a message with role and content",
    ),
    "no message": (
        [{"prompt": "x", "chosen": [SECRET], "rejected": [NO]}],
        r"chosen\[0\] with a text",
    ),
    "pictures": (
        [{"prompt": [said("user", [SECRET])], "chosen": [YES], "rejected": [NO]}],  # type: ignore[arg-type]
        r"prompt\[0\].content = a list;",
    ),
    "surrogate": (rows(1, response_a=["\ud800"]), "half a surrogate pair in response_a;"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_text_is_named_with_its_row(tmp_path, case):
    refused(tmp_path, *BROKEN[case])
