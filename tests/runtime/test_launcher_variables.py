import pytest

from vit_hk.errors import UserError
from vit_hk.runtime.launcher_variables import describe_processes

NAMED = {
    "JAX_COORDINATOR_ADDRESS": "node1:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
EXPECTED = {"coordinator_address": "node1:1234", "num_processes": 4, "process_id": 3}
SLURM_JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        NAMED | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"},
        {"JAX_COORDINATOR_ADDRESS": "node1:1234"},
        SLURM_JOB,  # a script of sbatch, or a shell of salloc
        {**SLURM_JOB, "SLURM_STEP_NUM_TASKS": "1"},
        {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"},  # one job of many
    ],
)
def test_a_single_process_joins_nothing(environment):
    assert describe_processes(environment) is None


def test_processes_are_described_by_three_variables():
    assert describe_processes(NAMED) == EXPECTED


def test_open_mpi_5_says_all_but_the_address():
    address = {"JAX_COORDINATOR_ADDRESS": "node1:1234"}
    assert describe_processes(OPEN_MPI | address) == EXPECTED
    with pytest.raises(UserError, match=r"JAX_COORDINATOR_ADDRESS is not set, but .* HOST:PORT"):
        describe_processes(OPEN_MPI)


def test_a_process_has_the_gpu_of_its_number_on_its_machine_or_those_that_are_named():
    named = OPEN_MPI | {"JAX_COORDINATOR_ADDRESS": "node1:1234"}
    local = {"OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    assert describe_processes(named | local) == EXPECTED | {"local_device_ids": [1]}
    assert describe_processes(named | local | {"JAX_LOCAL_DEVICE_IDS": "0"}) == EXPECTED
    assert describe_processes(NAMED | local) == EXPECTED  # three variables count more


SLURM_STEP = SLURM_JOB | {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "node[07-09]",
    "SLURM_PROCID": "3",
}


@pytest.fixture
def in_slurm_step(monkeypatch):
    for name, value in SLURM_STEP.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("in_slurm_step")
def test_slurm_says_where_the_first_process_runs():
    found = describe_processes(SLURM_STEP)
    host, _, port = found.pop("coordinator_address").partition(":")
    assert host == "node07"
    assert 1024 < int(port) < 65536
    assert found == {"num_processes": 4, "process_id": 3, "local_device_ids": [0]}


@pytest.mark.usefixtures("in_slurm_step")
def test_gpus_that_are_named_count_in_slurm():
    found = describe_processes(SLURM_STEP | {"JAX_LOCAL_DEVICE_IDS": "0"})
    assert found["local_device_ids"] is None  # JAX reads the variable then


@pytest.mark.usefixtures("in_slurm_step")
def test_another_address_can_be_named_in_slurm():
    named = {"JAX_COORDINATOR_ADDRESS": "node08:4321"}
    assert describe_processes(SLURM_STEP | named)["coordinator_address"] == "node08:4321"


def test_three_variables_count_more_than_a_launcher():
    others = NAMED | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    for launcher in (SLURM_STEP, OPEN_MPI):
        found = describe_processes(launcher | others)
        assert found == {"coordinator_address": "node1:1234", "num_processes": 2, "process_id": 1}


def test_mpirun_counts_more_than_the_srun_that_started_it():
    address = {"JAX_COORDINATOR_ADDRESS": "node1:1234"}
    daemons = SLURM_STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
    assert describe_processes(daemons | OPEN_MPI | address) == EXPECTED


@pytest.mark.parametrize("address", ["node1", "node1:", ":1234", "node1:0", "node1:65536", "a:b"])
def test_address_without_host_or_port_is_refused(address):
    with pytest.raises(UserError, match=r"ADDRESS is '.*'; allowed: the host of process 0"):
        describe_processes(NAMED | {"JAX_COORDINATOR_ADDRESS": address})


@pytest.mark.parametrize("name", NAMED)
def test_incomplete_variables_are_refused(name):
    with pytest.raises(UserError, match=f"{name} is not set"):
        describe_processes({key: value for key, value in NAMED.items() if key != name})


@pytest.mark.parametrize(
    "changes",
    [{"JAX_NUM_PROCESSES": "two"}, {"JAX_PROCESS_ID": "4"}, {"JAX_PROCESS_ID": "-1"}],
)
def test_numbers_that_make_no_sense_are_refused(changes):
    with pytest.raises(UserError, match="allowed: the number of processes, and that of this"):
        describe_processes(NAMED | changes)
