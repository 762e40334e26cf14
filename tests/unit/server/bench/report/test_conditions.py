"""What stands beside the figures."""

from veneer_server.bench.report.conditions import Bystanders, conditions


def test_conditions_name_the_machine_the_versions_and_the_command() -> None:
    found = conditions(["veneer", "bench", "--quick"])
    assert found["command"] == "veneer bench --quick"
    assert "CPUs" in found["hardware"]
    assert "veneer " in found["versions"]
    assert found["date"].endswith("UTC")


def test_our_own_work_is_not_that_of_others() -> None:
    bystanders = Bystanders()
    assert 0 <= bystanders.cpus() < 1000
