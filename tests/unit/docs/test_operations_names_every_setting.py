"""The page for operators is complete: every setting and every metric of the code stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from holdfast import metrics
from holdfast.settings import GatewaySettings, ReaperSettings, RunnerSettings
from holdfast_agent.settings import ModelSettings, SeamlessSettings, ToolSettings

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def variables() -> set[str]:
    """The environment variables that the settings read, each under its first name."""
    found = set()
    for settings in (GatewaySettings, RunnerSettings, ReaperSettings, ModelSettings, SeamlessSettings, ToolSettings):
        for name, field in settings.model_fields.items():
            alias = field.validation_alias
            if isinstance(alias, str):
                found.add(alias)
            elif alias is not None:
                found.add(str(alias.choices[0]))  # type: ignore[union-attr]  # AliasChoices is the only other kind used
            else:
                found.add(f"HOLDFAST_{name.upper()}")
    return found


@pytest.mark.parametrize("variable", sorted(variables()))
def test_every_setting_is_on_the_page(variable: str) -> None:
    assert f"`{variable}`" in PAGE


def test_every_metric_is_on_the_page() -> None:
    named = [metric._name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    assert named
    assert [name for name in named if name not in PAGE] == []
