from tests.cli.conftest import service as service
