# Ostinato: one image for the API, the engine and the worker; the command chooses the program. By default PyTorch is
# installed from the default package index, which on Linux includes CUDA and also runs without a GPU. CPU builds alone
# make the image a quarter of the size:
#   docker build -t ostinato --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# For a certain version of CUDA, build with its index and run with `--gpus all`:
#   docker build -t ostinato --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

ARG TORCH_INDEX=
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PATH=/opt/ostinato/bin:$PATH

WORKDIR /srv/ostinato
COPY requirements.lock ./
RUN python3 -m venv /opt/ostinato \
 && PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" /opt/ostinato/bin/pip install --quiet -r requirements.lock

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app app
COPY models models
RUN /opt/ostinato/bin/pip install --quiet --no-deps . \
 && /opt/ostinato/bin/python -m compileall -q /opt/ostinato/lib/python3*/site-packages/app \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ostinato \
 && mkdir -p /data && chown ostinato:ostinato /data && rm -rf /srv/ostinato/app /srv/ostinato/models

USER ostinato
WORKDIR /data
VOLUME /data
ENV OSTINATO_HOST=0.0.0.0 OSTINATO_PORT=8000 OSTINATO_DATA_DIR=/data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/readyz' % os.environ['OSTINATO_PORT'], timeout=3)"]
ENTRYPOINT ["ostinato"]
CMD ["up"]
