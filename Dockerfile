# docker build -t isoflop . && docker run -v "$PWD/work:/work" -w /work isoflop train --budget 30m book.txt
FROM debian:12
WORKDIR /isoflop
COPY scripts/setup scripts/setup
RUN scripts/setup && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DISOFLOP_TESTS=OFF && cmake --build build/release --target isoflop
ENTRYPOINT ["/isoflop/build/release/isoflop"]
