"""Models as judges: a label never depends on what else is asked, and a random head is no judge."""

import random
import re

import numpy as np
import pytest
from text_pools import pool, question, said

from activeduel.llm.config import TeacherOptions
from activeduel.llm.teachers import make
from activeduel.llm.teachers.verdicts import fill

torch = pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")
transformers = pytest.importorskip(
    "transformers", reason="needs transformers: pip install 'activeduel[llm]'"
)


@pytest.fixture(scope="module")
def reward_model(tiny_model, tmp_path_factory):
    """The tiny model with a head of one output that counts as trained."""
    folder = tmp_path_factory.mktemp("reward-model")
    save(tiny_model, folder, outputs=1)
    return folder


def save(tiny_model, folder, outputs):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        base = transformers.AutoModel.from_pretrained(tiny_model)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
        base.config.num_labels = outputs
        kind = transformers.AutoModelForSequenceClassification
        model = kind.from_config(base.config)
        model.model.load_state_dict(base.state_dict())
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def judge(kind, path, data, *, seed=0, name="judge", **settings):
    settings = {"model_name_or_path": str(path), "dtype": "float32", "device": "cpu"} | settings
    return make(TeacherOptions(name, kind, settings=settings), data, seed=seed)


def questions_of(data, numbers=(0,), pairs=12):
    return [question(data, i, n) for i in range(pairs) for n in numbers]


def test_a_classifier_prefers_the_larger_reward(reward_model, world):
    data, teacher = world.pool, judge("classifier", reward_model, world.pool)
    questions = questions_of(data)
    rewards = np.array([[teacher.reward(q.prompt, r) for r in q.responses] for q in questions])
    assert list(said(teacher, questions).values()) == list(
        (rewards[:, 0] > rewards[:, 1]).astype(float)
    )
    assert len(set(np.sign(rewards[:, 0] - rewards[:, 1]))) == 2  # negative control
    assert (teacher.capacity() == 1).all()


def test_its_rewards_are_those_of_a_padded_batch(reward_model, world):
    """Against transformers' own batching, in fp32: 1e-5 of the rewards' spread."""
    data, teacher = world.pool, judge("classifier", reward_model, world.pool)
    tokenizer = transformers.AutoTokenizer.from_pretrained(reward_model)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(reward_model).float()
    texts = [[*q.prompt, *q.responses[0]] for q in questions_of(data)]
    rows = tokenizer.apply_chat_template(texts, padding=True, return_tensors="pt", return_dict=True)
    lengths = rows["attention_mask"].sum(1)
    assert lengths.min() < lengths.max()  # negative control: some are padded
    with torch.inference_mode():
        batched = model.eval()(**rows).logits[:, 0].numpy()
    alone = [teacher.reward(q.prompt, q.responses[0]) for q in questions_of(data)]
    assert np.abs(batched - alone).max() < 1e-5 * np.ptp(alone)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.01}])
def test_its_answers_do_not_depend_on_order_or_company(reward_model, world, settings):
    data, numbers = world.pool, (0, 1) if settings else (0,)
    questions = questions_of(data, numbers, pairs=8)
    whole = said(judge("classifier", reward_model, data, **settings), questions)
    mixed = random.Random(0).sample(questions, len(questions))
    assert said(judge("classifier", reward_model, data, **settings), mixed) == whole
    for q in questions[-1:]:
        assert said(judge("classifier", reward_model, data, **settings), [q]) == {
            q.key: whole[q.key]
        }


def test_with_a_temperature_it_answers_by_bradley_terry(reward_model, world):
    """Share of a within 4.9 standard errors (false alarm 1e-6) at n = 2000, on one pair."""
    data = world.pool
    q = question(data, 0)
    sharp = judge("classifier", reward_model, data)
    a, b = (sharp.reward(q.prompt, r) for r in q.responses)
    warm = judge("classifier", reward_model, data, temperature=abs(a - b))
    assert (warm.capacity() == -1).all()
    found = np.mean(list(said(warm, [question(data, 0, n) for n in range(2000)]).values()))
    expected = 1 / (1 + np.exp(-np.sign(a - b)))
    assert abs(found - expected) < 4.9 * 0.5 / np.sqrt(2000)
    assert said(judge("classifier", reward_model, data, seed=1, temperature=abs(a - b)), [
        question(data, 0, n) for n in range(50)
    ]) != said(warm, [question(data, 0, n) for n in range(50)])  # fmt: skip


def test_equal_responses_are_a_tie(reward_model):
    data = pool(1)
    same = question(data, 0)._replace(responses=("the same", "the same"))
    assert said(judge("classifier", reward_model, data), [same]) == {same.key: 0.5}


@pytest.mark.parametrize("form", ["chat", "text", "pair"])
def test_long_texts_lose_their_beginning_in_every_form(reward_model, form):
    data = pool(1)
    teacher = judge("classifier", reward_model, data, form=form, max_length=16)
    long = "then cut rice because soup " * 30
    assert np.isfinite(teacher.reward(long, "first turn the pan"))
    assert teacher.reward("so " + long, "x " + long) == teacher.reward("as " + long, "y " + long)


def test_a_model_without_a_trained_head_is_no_judge(tiny_model, tmp_path, world):
    """Also where its configuration promises one: a head of random numbers would answer at random."""
    model = transformers.AutoModel.from_pretrained(tiny_model)
    model.config.num_labels = 1
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    teacher = judge("classifier", tmp_path, world.pool)
    with pytest.raises(
        ValueError, match=r"'judge' \(classifier\): found no trained weights for 'score"
    ):
        said(teacher, questions_of(world.pool))


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_model_without_one_reward_is_refused_before_its_weights_are_read(
    tiny_model, tmp_path, world, outputs
):
    """When the teacher is made: no label has been bought yet, of anybody."""
    save(tiny_model, tmp_path, outputs)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match=rf"'judge' \(classifier\): found a classifier with {outputs} outputs"
    ):
        judge("classifier", tmp_path, world.pool)


def test_a_classifier_is_no_generative_judge(reward_model, world):
    with pytest.raises(ValueError, match=r"found a classifier \(LlamaForSequenceClassification\)"):
        judge("generative", reward_model, world.pool)


def test_a_judge_is_loaded_without_bars_and_reports(reward_model, tiny_model, world, capfd):
    transformers.utils.logging.enable_progress_bar()
    for kind, folder in (("classifier", reward_model), ("generative", tiny_model)):
        said(judge(kind, folder, world.pool), questions_of(world.pool, pairs=1))
    assert capfd.readouterr() == ("", "")
    transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    assert "Loading weights" in capfd.readouterr().err  # negative control


@pytest.mark.parametrize("kind", ["classifier", "generative"])
def test_a_model_that_cannot_be_loaded_is_named(kind, tmp_path, world):
    with pytest.raises(ValueError, match=rf"'judge' \({kind}\): .*nowhere"):
        judge(kind, tmp_path / "nowhere", world.pool)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"'judge' \({kind}\): .* Needed a judge that can be"):
        judge(kind, tmp_path, world.pool)
    with pytest.raises(ValueError, match="found no 'model_name_or_path', needed it"):
        make(TeacherOptions("judge", kind), world.pool, seed=0)


def test_loading_a_judge_leaves_the_global_generators_alone(reward_model, world):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    said(judge("classifier", reward_model, world.pool), questions_of(world.pool, pairs=1))
    assert torch.equal(torch.get_rng_state(), before)


def greedy(folder, text, tokens):
    """What the model writes after ``text``, one likeliest token after the other."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )["input_ids"]  # fmt: skip
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(tokens):
            ids = torch.cat((ids, model(ids).logits[0, -1].argmax()[None, None]), 1)
            if ids[0, -1] == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()


def sampling(tiny_model, folder):
    """The same model, whose own settings say that it samples."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=3.0, eos_token_id=2
    )
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)


def test_a_generative_judge_answers_greedily_in_both_orders(tiny_model, tmp_path, world):
    """The tiny model babbles, so its verdicts are named by what it babbles in each order."""
    data, template = world.pool, "{prompt} | {response_a} | {response_b}"
    for q in questions_of(data):
        orders = (q.responses, q.responses[::-1])
        texts = [fill(template, q.prompt, order) for order in orders]
        replies = [greedy(tiny_model, text, 4) for text in texts]
        if not (replies[0] in replies[1] or replies[1] in replies[0]):
            break
    else:
        pytest.fail("needed a pair on which the two orders have different replies")
    sampling(tiny_model, tmp_path)
    first, second = map(re.escape, replies)
    settings = {"template": template, "max_new_tokens": 4}
    for folder in (tiny_model, tmp_path):
        for verdicts, preference in (
            ({"a": first, "b": second}, 1.0),  # response a in both orders
            ({"a": second, "b": first}, 0.0),
            ({"a": f"{first}|{second}", "b": "@"}, 0.5),  # whatever stands first
            ({"a": first, "b": "@"}, None),  # one order cannot be read
        ):
            teacher = judge("generative", folder, data, verdicts=verdicts, **settings)
            assert said(teacher, [q]) == {q.key: preference}
    assert (teacher.capacity() == 1).all()


def test_an_unreadable_verdict_is_none_and_says_what_was_said(tiny_model, world):
    data = world.pool
    teacher = judge(
        "generative", tiny_model, data, verdicts={"a": "@@A", "b": "@@B"}, max_new_tokens=3
    )
    answers = list(teacher.answers(questions_of(data, pairs=2)))
    assert [a.preference for a in answers] == [None, None]
    assert all(a.note.startswith("? ?: ") for a in answers)


def test_what_a_judge_cannot_read_whole_is_not_cut_but_unusable(tiny_model, world):
    data = world.pool
    teacher = judge("generative", tiny_model, data, max_length=32, max_new_tokens=3)
    [answer] = teacher.answers(questions_of(data, pairs=1))
    assert answer.preference is None and "of 29 that can be read" in answer.note


def test_generative_settings_are_checked_before_the_model_is_loaded(world):
    for settings, found in (
        ({"template": "{prompt}"}, "without {response_a}, {response_b}"),
        ({"verdicts": {"a": "("}}, "do not name a and b"),
        (
            {"template": "{prompt} {response_a} {response_b} {rubric}"},
            "{rubric}, which nothing fills",
        ),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"max_new_tokens": 16, "max_length": 16}, "max_new_tokens 16 of max_length 16"),
        ({"max_length": -3}, "max_length -3"),
    ):
        with pytest.raises(ValueError, match=rf"'judge' \(generative\): found .*{found}"):
            judge("generative", "nowhere", world.pool, **settings)


def test_a_model_without_room_for_a_question_is_no_judge(tiny_model, world):
    """It could read nothing, and every question would be charged."""
    with pytest.raises(ValueError, match="room beside max_new_tokens"):
        judge("generative", tiny_model, world.pool, max_new_tokens=4000)
