"""Everything the report of a language-model run shows, as plain JSON."""

from typing import Any

from ..theory.refit import LABELS_PER_DIMENSION, RIDGE
from .llm_curves import AXES, Exactness, compared, curves, cut_band, exactness, paired
from .llm_facts import Facts
from .llm_policies import policies
from .llm_selection import (
    BETTER,
    NO_BETTER,
    NOTHING,
    UNFINISHED,
    WORSE,
    amount,
    compare,
    length_comparison,
    quality,
)
from .llm_tables import ledger_odds, progress, rationality, stages, teachers, trainings
from .replay_intervals import percent

Summary = dict[str, Any]
TRUTH = {
    "gold": "the gold preference",
    "majority": "the majority of the recorded judgements",
    "both": "the gold preference where there is one, else the majority of the recorded judgements",
}


def summarise(facts: Facts) -> Summary:
    """The whole report; None where there is no number."""
    exact = exactness(facts)
    comparisons = [compare(facts, name, exact) for name in facts.baselines]
    costs = {teacher.cost for teacher in facts.config.teachers}
    first = next(iter(facts.families.values()))  # all arms of a replicate share its split
    splits = [arm.split for arm in first.values()]
    policy = policies(facts, exact)
    summary: Summary = {
        "command": "llm report",
        "progress": progress(facts),
        "comparisons": comparisons,
        "quality": quality(facts, exact),
        "length": policy["length"] if policy else length_comparison(facts, exact),
        "curves": curves(facts, exact),
        "differences": differences(facts, exact),
        "money_is_labels": costs == {1.0},
        "selectors": facts.selectors,
        "teachers": teachers(facts),
        "rationality": rationality(facts),
        "policies": policy,
        "trainings": trainings(facts, exact),
        "stages": stages(facts),
        "ledger": ledger_odds(facts),
        "pool": facts.pool,
        "splits": [split for split in splits if split],
        "heads": heads(facts),
        "interval": {"ratio": exact.ratio, "step": exact.step, "level": 0.95},
        "origin": facts.origin,
        "run": {
            "name": facts.config.output.run_name,
            "seed": facts.config.selection.seed,
            "model": facts.config.model.model_name_or_path,
            "selector": facts.chosen,
            "budget": facts.config.selection.budget,
            "replicates": facts.config.selection.replicates,
            "method": facts.config.training.method,
        },
        "configuration": facts.configuration,
    }
    summary["answer"] = _answer(summary, facts)
    summary["method"] = method(summary, facts)
    return summary


def differences(facts: Facts, exact: Exactness) -> dict[str, dict[str, dict[str, Any]]]:
    """axis -> baseline -> the chosen selector's lead, of the replicates that both have finished."""
    mine = {arm.name.rsplit("/", 1)[1]: arm for arm in compared(facts, facts.chosen)}
    out: dict[str, dict[str, dict[str, Any]]] = {axis: {} for axis in AXES}
    for axis, found in out.items():
        for name in facts.baselines:
            theirs = {arm.name.rsplit("/", 1)[1]: arm for arm in compared(facts, name)}
            both = sorted({*mine} & {*theirs})
            if both:
                first, second = [mine[r] for r in both], [theirs[r] for r in both]
                grid, lead = paired(first, second, axis, facts.config.selection.budget)
                if len(grid):
                    rest = {"x": grid.tolist(), "replicates": len(both)}
                    found[name] = rest | cut_band(lead, exact, -1.0)
    return out


def heads(facts: Facts) -> list[dict[str, Any]]:
    """The linear head of every selector's last evaluation."""
    keys = ("dimensions", "kept_share", "status", "asked", "usable", "money")
    return [
        {"arm": arm.name, "ridge": RIDGE} | {k: arm.evaluations[-1].get(k) for k in keys}
        for family in facts.selectors
        for arm in facts.begun(family).values()
    ]


def _answer(summary: Summary, facts: Facts) -> dict[str, Any]:
    """The finding that comes first: against random, else against the first baseline."""
    by = {c["baseline"]: c for c in summary["comparisons"]}
    first = by.get("random") or next(iter(by.values()), None)
    if not summary["progress"]["started"]:
        return {"finding": NOTHING, "in_words": "Nothing has been bought yet."}
    if first is not None:
        words = first["in_words"]
        if first["finding"] in (UNFINISHED, NOTHING) and summary["progress"]["unfinished"]:
            words = f"{summary['progress']['in_words']} {words}"
        return {"finding": first["finding"], "in_words": words}
    if (policy := summary["policies"]) is not None:
        verdicts = list(policy["against"].values()) or [{"finding": "alone", **policy}]
        return {key: verdicts[0][key] for key in ("finding", "in_words")}
    words = f"Only {facts.chosen} was run; beside no baseline, what selection gained is unknown."
    if summary["progress"]["unfinished"]:
        words = f"{summary['progress']['in_words']} {words}"
    return {"finding": "alone", "in_words": words}


def good(finding: str) -> str:
    """How a finding is coloured: "" good, "bad" no gain, "open" undecided."""
    if finding == BETTER:
        return ""
    return "bad" if finding in (NO_BETTER, WORSE) else "open"


def method(summary: Summary, facts: Facts) -> list[str]:
    """How it was done, in sentences."""
    return [
        *_data_words(summary),
        *(_model_words(summary, facts) if facts.selectors else []),
        *(_policy_method(facts) if summary["policies"] is not None else []),
        *_statistics_words(summary, facts),
    ]


def _data_words(summary: Summary) -> list[str]:
    pool, splits, said = summary["pool"], summary["splits"], []
    if pool:
        types = pool.get("context_types") or ["all"]
        words = f"Pool: {amount(pool['pairs'])} pairs on {amount(pool['prompts'])} prompts"
        words += f", {amount(pool['judgements'])} recorded judgements" * bool(
            pool.get("judgements")
        )
        words += f", {amount(pool['with_gold'])} with a gold preference" * bool(
            pool.get("with_gold")
        )
        words += f"; context types: {', '.join(types)}" * (len(types) > 1)
        words += f". Left out: {pool['left_out']}" * bool(pool.get("left_out"))
        said.append(words + ".")
        if guessed := pool.get("guessed_prompts"):
            said.append(
                f"{amount(guessed)} rows name no prompt: the words with which both responses begin are taken for "
                "it, and pairs whose guesses are half equal are held out together."
            )
    if splits:
        first = splits[0]
        said.append(
            f"Split by prompt, never by pair, anew for every replicate: {amount(first['train_pairs'])} pairs on "
            f"{amount(first['train_prompts'])} prompts to buy from, {amount(first['test_pairs'])} on "
            f"{amount(first['test_prompts'])} held out (replicate 0)."
        )
        decided = [split.get("decided_test_pairs") or 0 for split in splits]
        truth = TRUTH.get(first.get("truth", ""), "the truth that the pool knows")
        few = (
            amount(min(decided))
            if min(decided) == max(decided)
            else (f"{amount(min(decided))} to {amount(max(decided))}")
        )
        said.append(
            f"Held-out reward accuracy: the share of {few} decided held-out pairs that the reward orders as "
            f"{truth}; equal rewards count half. A tie counts half a win each in every fit, is left out of "
            "accuracy, and is charged in full. Unreadable answers are charged and not used."
        )
    return said


def _model_words(summary: Summary, facts: Facts) -> list[str]:
    config, found = facts.config, [h for h in summary["heads"] if h["dimensions"] is not None]
    layer = "the last layer" if config.features.layer == -1 else f"layer {config.features.layer}"
    said = [
        f"Features: {config.features.pooling}-token hidden states of {layer} of "
        f"{config.model.model_name_or_path}, at most {config.features.max_length} tokens."
        if config.features.pooling == "last"
        else f"Features: the mean of {layer}'s hidden states of {config.model.model_name_or_path}, at most "
        f"{config.features.max_length} tokens."
    ]
    if found:
        sizes = sorted({int(h["dimensions"]) for h in found})
        kept = [h["kept_share"] for h in found if h["kept_share"] is not None]
        most = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        words = (
            "Head: linear, on differences of features that are scaled and turned to principal components of the "
            f"training pool; at most labels / {LABELS_PER_DIMENSION} and {config.selection.max_dimensions} are "
            f"kept: {most} at the end"
        )
        words += f", {percent(min(kept))} of the scaled variance or more" * bool(kept)
        said.append(f"{words}. Ridge {RIDGE:g}, never 0.")
        odd = sorted({str(h["status"]) for h in found if h["status"] not in ("converged", None)})
        if odd:
            count = sum(str(h["status"]) in odd for h in found)
            said.append(
                f"{count} last fits did not converge ({', '.join(odd)}): read them with care."
            )
    said.append(
        "Rationality: estimated together with the reward, scaled to root mean square 1 over the labels, so only "
        "ratios compare with the stated ones."
        if config.selection.estimate_rationality
        else "Rationality: each teacher's stated one is believed; nothing is estimated."
    )
    return said


def _policy_method(facts: Facts) -> list[str]:
    training = facts.config.training
    rest = "trains on its own sign" if training.pseudo_labels else "leaves the pair out"
    said = [
        f"Accuracy of a policy: of its implicit reward, beta (log pi - log reference), beta {training.beta:g}.",
        (
            f"ADPO asks teacher {training.adpo_teacher!r} where its reward difference is at most "
            f"{training.confidence_threshold:g} in size, and {rest} elsewhere; a pair asked before keeps its answer."
        ),
        (
            f"ADPO on its way: looked at on at most {training.max_eval_pairs:,} of the held-out pairs; the "
            "accuracies of the table are on all of them."
        ),
    ]
    if "random" in facts.families:
        said.append(
            "DPO on random pairs: labels of randomly chosen training pairs for the money that ADPO spent in the "
            "same replicate, from the same teachers, and as many epochs over them: fewer steps than ADPO takes."
        )
    return said


def _statistics_words(summary: Summary, facts: Facts) -> list[str]:
    count, ratio = facts.config.selection.replicates, summary["interval"]["ratio"]
    said = [
        (
            f"{count} replicates, each with its own split and seed; differences are taken replicate by replicate. "
            "Their splits overlap, so they are no independent repetitions: intervals (95 %) are Nadeau and "
            f"Bengio's corrected resampled t, the variance over replicates times 1/{count} + {ratio:.2f} (held out "
            "over training, in pairs or prompts, whichever is larger), and the variance of rounding to whole "
            "held-out pairs is added."
        ),
        (
            '"Better" and "worse" are said only when all arms have spent their budget and the interval does not '
            "touch 0: where two are equal, each word is wrong in about 1 run of 40. One comparison at a "
            "time, not adjusted for several."
        ),
    ]
    if not summary["selectors"]:
        return said
    return [
        *said,
        (
            "Curves: between two evaluations an arm has the reward of the earlier one, and no arm is drawn beyond "
            "what it bought. In money, an arm with less left than the dearest label costs has spent its "
            "budget, and keeps its reward to there."
        ),
        (
            "Labels and money needed for what a baseline reaches with the whole budget: estimate where the monotone "
            "fit of the mean lead over that level reaches 0; interval by inverting the test at each checkpoint. "
            "What is not reached, or not shown to be, has no number."
        ),
    ]


def origin_text(summary: Summary) -> str:
    """One line: which run this is."""
    found, run = summary["origin"], summary["run"]
    parts = [f"run {run['name']}", f"seed {run['seed']}", str(run["model"])]
    parts += [str(found[key]) for key in ("device", "dtype") if found.get(key)]
    code = found.get("code") or {}
    version = found.get("version") or code.get("version")
    if version:
        commit = (code.get("commit") or "no git")[:12] + ", uncommitted changes" * bool(
            code.get("dirty")
        )
        parts.append(f"activeduel {version} ({commit})")
    return ", ".join(parts)
