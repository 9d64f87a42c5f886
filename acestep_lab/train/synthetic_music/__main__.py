"""`python -m acestep_lab.train.synthetic_music --seed 7 --seconds 20 -o song.flac` plays a song; `--check 64` measures many."""

from __future__ import annotations

import argparse
from pathlib import Path

from acestep_lab.audio.audio import Audio
from acestep_lab.train.synthetic_music import STYLES, Song, compose, render


def describe(song: Song) -> str:
    """Caption, metadata, sections and lyrics of a song in a few lines."""
    sections = ", ".join(f"{s.tag} {s.start_s:.1f}-{s.end_s:.1f} s" for s in song.sections)
    return f"{song.caption}\n{song.bpm} BPM, {song.keyscale}, meter {song.timesignature}: {sections}\n{song.lyrics}"


def main() -> None:
    """Write one song, or print how well songs can be analysed."""
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.synthetic_music", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--style", choices=sorted(STYLES))
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--channels", type=int, choices=(1, 2), default=2)
    parser.add_argument("-o", "--output", type=Path, help="a .flac or .wav to write")
    parser.add_argument("--stems", action="store_true", help="also write every stem beside it")
    parser.add_argument("--check", type=int, metavar="N", help="measure N songs of ten seconds and print a table")
    arguments = parser.parse_args()
    if arguments.check:
        from acestep_lab.train.synthetic_music.check import check, table

        return print(table(check(arguments.check)))
    song = compose(arguments.seed, arguments.seconds, style=arguments.style)
    print(describe(song))
    if arguments.output:
        sound = render(song, arguments.rate, arguments.channels)
        Audio(sound.mix, arguments.rate).write(arguments.output)
        for name, stem in sound.stems.items() if arguments.stems else ():
            Audio(stem, arguments.rate).write(
                arguments.output.with_name(f"{arguments.output.stem}-{name}{arguments.output.suffix}")
            )


if __name__ == "__main__":
    main()
