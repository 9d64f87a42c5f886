"""`acestep-lab judge`: what a checkpoint can do, measured, with chance and ceiling beside every figure.

Fixed prompts (`prompts.json`, each a song of the synthetic world), fixed seeds, deterministic measures. *Chance* is the
same sound held against another prompt; the *ceiling* is the world's own song after a trip through the checkpoint's
autoencoder. A figure without both says little: an octave-tolerant tempo is right by luck on every tenth song.
"""

from acestep_lab.evaluate.evaluation import MEASURES, evaluate
from acestep_lab.evaluate.prompts import Prompt, prompts
from acestep_lab.evaluate.report import Metric, Report

__all__ = ["MEASURES", "Figure", "Prompt", "Report", "evaluate", "prompts"]
