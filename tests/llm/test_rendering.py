"""A prompt with a response as the model reads it: templates, plain text, and where a text ends."""

import numpy as np
import pytest

for package in ("torch", "transformers"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

from tokenizers import processors

from activeduel.llm.config import ModelOptions
from activeduel.llm.models import load_tokenizer, render
from activeduel.llm.rendering import encode

CHAT = ({"role": "user", "content": "hello"},)


def options(path):
    return ModelOptions(str(path), device="cpu")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(options(tiny_model))


@pytest.fixture
def own(tiny_model):
    """A tokenizer to change."""
    return load_tokenizer(options(tiny_model))


def test_plain_text_is_joined_and_ends(tokenizer):
    """TRL's rule: what the trainers see is what the features are of."""
    assert render(tokenizer, "Say hi.", " Hi.") == ("Say hi.", "Say hi. Hi.</s>")
    assert render(tokenizer, "Say hi.", " Hi.</s>")[1] == "Say hi. Hi.</s>"


def test_a_conversation_goes_through_the_chat_template(tokenizer):
    start, full = render(tokenizer, CHAT, "there")
    assert full.startswith(start) and start.endswith("<|assistant|>") and "there" in full
    assert full == render(tokenizer, CHAT, ({"role": "assistant", "content": "there"},))[1]
    assert full == render(tokenizer, "hello", ({"role": "assistant", "content": "there"},))[1]


def test_a_conversation_without_a_template_is_its_contents(tokenizer, tiny_model):
    bare = load_tokenizer(options(tiny_model))
    bare.chat_template = None
    assert render(bare, CHAT, "there") == ("hello\n\n", "hello\n\nthere</s>")


def test_tokens_start_once_and_know_where_the_response_is(tokenizer):
    plain, chat = encode(tokenizer, [("green tree", " tall tree"), (CHAT, "tall tree")], 99)
    for text in (plain, chat):  # the template writes the first token itself
        assert text.ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in text.ids[1:]
        assert text.ids[-1] == tokenizer.eos_token_id and text.cut == 0
    assert tokenizer.decode(plain.ids[plain.response :]) == " tall tree</s>"
    assert tokenizer.decode(chat.ids[chat.response :]) == "tall tree</s>"


def test_what_is_too_long_loses_its_beginning_but_for_the_first_token(tokenizer):
    row = ("one two three four", " five six")
    (whole,) = encode(tokenizer, [row], 99)
    (end,) = encode(tokenizer, [row], 8)
    assert end.ids.tolist() == [whole.ids[0], *whole.ids[-7:]] and end.cut == len(whole.ids) - 8
    assert end.ids[end.response] == whole.ids[whole.response] or end.response == 1
    (start,) = encode(tokenizer, [row], 8, "keep_start")
    assert np.array_equal(start.ids, whole.ids[:8])


def test_a_plain_prompt_with_a_conversation_and_the_other_way_round(tokenizer):
    """One of them a conversation is enough for the template."""
    answer = ({"role": "assistant", "content": "there"},)
    assert render(tokenizer, CHAT, "there") == render(tokenizer, CHAT, answer)
    assert render(tokenizer, "hello", answer) == render(tokenizer, CHAT, answer)


ALTERNATING = (  # Mistral's and Gemma's rule
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def test_roles_that_a_template_refuses(own):
    own.chat_template = ALTERNATING
    turns = (*CHAT, {"role": "assistant", "content": "yes"}, *CHAT)
    assert render(own, turns, "there")[1] == "<s>helloyes</s>hellothere</s>"
    for first in ("system", "user"):
        prompt = ({"role": first, "content": "a secret"}, *CHAT)
        with pytest.raises(ValueError, match=f"of the roles {first}, user.*refuses") as error:
            encode(own, [(CHAT, "fine"), (prompt, "there")], 99)
        assert error.value.row == 1 and "secret" not in str(error.value)


def test_a_role_that_is_somebodys_text_is_not_shown(own):
    """As where role and content are exchanged."""
    own.chat_template = ALTERNATING
    prompt = ({"role": "my doctor told me a secret", "content": "user"}, *CHAT)
    with pytest.raises(ValueError, match="of the roles a text of 26 characters, user, which"):
        render(own, prompt, "there")
    with pytest.raises(ValueError, match="chat_template") as error:
        render(own, prompt, "there")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("several", [False, True])
def test_a_template_that_writes_todays_date_gives_the_same_text_tomorrow(own, tmp_path, several):
    """Llama 3.2's and GPT-OSS's do: a resumed run, and TRL, must read what the features are of."""
    template = """{{ strftime_now('%d %b %Y') }} {{strftime_now( "%Y" )}}{% for m in messages %}
{{ m.content }}{% endfor %}"""
    own.chat_template = {"default": template, "tools": template} if several else template
    own.save_pretrained(tmp_path)
    start, full = render(load_tokenizer(options(tmp_path)), CHAT, "there")
    assert (start, full) == ("26 Jul 2024 2024hello", "26 Jul 2024 2024hellothere")


def test_a_tokenizer_that_ends_a_text_itself_ends_it_once(own):
    """RoBERTa's and Llama's with add_eos_token: the same token is not there twice."""
    own.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", own.bos_token_id), ("</s>", own.eos_token_id)]
    )
    (text,) = encode(own, [("green tree", " tall tree")], 99)
    assert own.decode(text.ids) == "<s>green tree tall tree</s>"
    assert own.decode(text.ids[text.response :]) == " tall tree</s>"


def test_a_template_that_writes_the_first_token_does_not_get_another(own):
    """Llama's, Gemma's and Mistral's tokenizers add one to plain text."""
    own.chat_template = ALTERNATING
    (text,) = encode(own, [(CHAT, "there")], 99)
    assert (text.ids == own.bos_token_id).sum() == 1 == text.ids[0]


def test_a_prompt_is_read_once_for_its_answers(own, monkeypatch):
    rows, seen = [("one two", " three"), ("one two", " four"), ("five", " six")], []
    wanted = [encode(own, [row], 99)[0] for row in rows]
    real = type(own).__call__
    monkeypatch.setattr(
        type(own), "__call__", lambda s, t, **k: (seen.append(t), real(s, t, **k))[1]
    )
    found = encode(own, rows, 99)
    assert sum(map(len, seen)) == 5  # two prompts, three texts
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.ids, other.ids) and one.response == other.response
