"""Shape rules: what the shapes of arrays say about a config, solved over the integers."""

from __future__ import annotations

from ckpt_core.shapes.rules import Leaf, Rule, ShapeRules
from ckpt_core.shapes.solve import Equation, Solutions, components, has_solution, is_solvable, solve

__all__ = [
    "Equation",
    "Leaf",
    "Rule",
    "ShapeRules",
    "Solutions",
    "components",
    "has_solution",
    "is_solvable",
    "solve",
]
