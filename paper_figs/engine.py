"""``activeduel figures``: compute what is missing, keep it, then draw from what is kept.

Every part of an experiment is saved by itself, so a command that was stopped goes on from there.
NAME.csv holds what is drawn, NAME.pdf and NAME.png draw it; figures.json says how each was made.
"""

from __future__ import annotations

import inspect
import io
import json
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .._durable import write_atomically
from .._provenance import code_version
from ..sim.store import Store, algorithm_version, sources_version
from ..theory.checks import one_of
from .figure import SCALES, Arrays, Experiment, Observations, PaperFigure, Settings, Table

if TYPE_CHECKING:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

PROGRAM = "activeduel figures"
STYLE = Path(__file__).with_name("style.mplstyle")
_CAPTION_LINE = 0.133  # inches
_CAPTION_WIDTH = 138  # characters in 7.2 inches


@dataclass(frozen=True)
class Options:
    """What the command line asked for; ``out`` None means results/figures/<scale>-<seed>."""

    scale: str = "quick"
    seed: int = 0
    workers: int = 1
    only: tuple[str, ...] = ()
    out: Path | None = None

    @property
    def folder(self) -> Path:
        return self.out or Path("results", "figures", f"{self.scale}-{self.seed}")

    @property
    def store_root(self) -> Path:
        return self.out or Path("results")


def select(figures: Mapping[str, PaperFigure], only: Sequence[str]) -> list[PaperFigure]:
    """The figures named, in the registry's order; all without names. ValueError lists what exists."""
    for name in only:
        one_of("--only", name, list(figures))
    return [figure for name, figure in figures.items() if not only or name in only]


def make_figures(figures: Mapping[str, PaperFigure], options: Options) -> int:
    """Compute, draw and write the selected figures; 0. Raises ValueError on anything unsound."""
    chosen, scale = select(figures, options.only), one_of("--scale", options.scale, SCALES)
    folder, made = options.folder, _opened(options.folder)
    with _bars(sum(len(f.experiment.parts(f.experiment.settings[scale])) for f in chosen)) as step:
        for figure in chosen:
            started = time.perf_counter()
            settings = figure.experiment.settings[scale]
            observations, fresh = observe(figure.experiment, settings, options, step)
            table = figure.table(observations, settings)
            caption = figure.caption(table, settings)
            write_atomically(folder / f"{figure.name}.csv", table.csv().encode())
            for kind, content in render(figure, table, caption).items():
                write_atomically(folder / f"{figure.name}.{kind}", content)
            made[figure.name] = {
                "caption": caption,
                "scale": scale,
                "seed": options.seed,
                "settings": dict(settings),
                "code": code_version(),
                "algorithm_version": algorithm_version(),
            }
            _write_record(folder, made)
            how = f"{time.perf_counter() - started:.1f} s" if fresh else "from saved results"
            print(f"{folder / figure.name}.pdf .png .csv  ({how})", flush=True)
    return 0


def observe(
    experiment: Experiment,
    settings: Settings,
    options: Options,
    step: Callable[[str], Callable[[float], None]],
) -> tuple[Observations, int]:
    """The saved arrays of every part, computed and saved where missing, and how many were."""
    store, fresh, found = Store(options.store_root), 0, {}
    source = sources_version([Path(inspect.getfile(experiment.compute))])
    for part in experiment.parts(settings):
        progress = step(f"{experiment.name}: {part}")
        configuration = {
            "part": part,
            "settings": {**settings},
            "seed": options.seed,
            "source": source,
        }
        stored = store.find(f"figures/{experiment.name}", configuration)
        if stored is None:
            arrays = _compute(experiment, settings, part, options, progress, store, configuration)
            fresh += 1
        else:
            arrays = stored[0]
        found[part] = arrays
        progress(1.0)
    return found, fresh


def _compute(
    experiment: Experiment,
    settings: Settings,
    part: str,
    options: Options,
    progress: Callable[[float], None],
    store: Store,
    configuration: Mapping[str, Any],
) -> Arrays:
    started = time.perf_counter()
    arrays = experiment.compute(
        settings, part, seed=options.seed, workers=options.workers, progress=progress
    )
    store.save(
        f"figures/{experiment.name}",
        configuration,
        arrays,
        seed=options.seed,
        device="cpu",
        seconds=time.perf_counter() - started,
    )
    return arrays


def render(figure: PaperFigure, table: Table, caption: str) -> dict[str, bytes]:
    """PDF and PNG, with the caption below the drawing; equal tables give equal bytes."""
    import matplotlib
    from matplotlib import rc_context, rc_params_from_file
    from matplotlib.figure import Figure

    width, height = figure.size
    lines = textwrap.wrap(
        caption.replace(" %", "\N{NO-BREAK SPACE}%"),
        int(_CAPTION_WIDTH * width / 7.2),
        break_on_hyphens=False,
    )
    below = _CAPTION_LINE * len(lines) + 0.12
    style = rc_params_from_file(STYLE, use_default_template=False)
    files: dict[str, bytes] = {}
    with rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        page = Figure(figsize=(width, height + below), layout="constrained")
        room = (0.0, below / (height + below), 1.0, height / (height + below))
        cast("ConstrainedLayoutEngine", page.get_layout_engine()).set(rect=room)
        figure.draw(page, table)
        page.text(0.08 / width, (below - 0.04) / (height + below), "\n".join(lines), va="top",
                  fontsize=7, color="#333333", linespacing=1.25)  # fmt: skip
        for kind, date in (("pdf", {"CreationDate": None}), ("png", {})):
            stream = io.BytesIO()
            page.savefig(stream, format=kind, metadata={"Title": figure.name, **date})
            files[kind] = stream.getvalue()
    return files


def _opened(folder: Path) -> dict[str, Any]:
    """What figures.json in a writable folder says; ValueError where others' files would be lost."""
    record = folder / "figures.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            foreign = sorted(
                p.name for p in folder.iterdir() if p.suffix in (".pdf", ".png", ".csv")
            )
            if foreign:
                raise ValueError(
                    f"--out: found {foreign[0]} in {folder}, which this program did not write; needed a "
                    "folder without figures, tables or drawings of others; pass another one with --out."
                )
            _write_record(folder, {})
        content = json.loads(record.read_bytes())
        if not isinstance(content, dict) or content.get("program") != PROGRAM:
            raise ValueError(f"{record}: found a file of another program; pass another --out.")
        _write_record(folder, content["figures"])  # finds out at once that it cannot
    except OSError as error:
        raise ValueError(
            f"--out: found {folder}, where nothing can be written ({error.strerror}); needed a folder; "
            "pass another one with --out."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"{record}: found a damaged file ({error}); move it away.") from error
    return dict(content["figures"])


def _write_record(folder: Path, figures: Mapping[str, Any]) -> None:
    content = {"program": PROGRAM, "figures": figures}
    write_atomically(
        folder / "figures.json", json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    )


@contextmanager
def _bars(parts: int) -> Iterator[Callable[[str], Callable[[float], None]]]:
    """One bar on a terminal: ``step(name)`` begins a part and returns what takes its share."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task, begun = bar.add_task("figures", total=float(max(parts, 1))), 0

        def step(name: str) -> Callable[[float], None]:
            nonlocal begun
            before, begun = begun, begun + 1
            bar.update(task, description=name, completed=before)
            return lambda share: bar.update(task, completed=before + share)

        yield step
