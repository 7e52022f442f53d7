package io.millrace.gateway;

import io.github.bucket4j.ConsumptionProbe;
import io.millrace.gateway.IdempotencyKeys.Holder;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/** Where no Redis is configured: keys live as long as this process remembers them. */
final class NoKeyStore implements KeyStore {
    @Override
    public CompletionStage<Optional<Holder>> claim(String key, Holder holder) {
        return CompletableFuture.completedStage(Optional.empty());
    }

    @Override
    public CompletionStage<Optional<Holder>> replace(String key, Holder gone, Holder holder) {
        return claim(key, holder);
    }

    @Override
    public void release(String key, Holder holder) {
        // nothing was claimed
    }

    @Override
    public CompletionStage<Optional<ConsumptionProbe>> take(String key, int perMinute) {
        return CompletableFuture.completedStage(Optional.empty());
    }

    @Override
    public CompletionStage<Long> endCache() {
        // nothing is cached either
        return CompletableFuture.completedStage(0L);
    }

    @Override
    public boolean isUp() {
        return true;
    }

    @Override
    public void close() {
        // nothing is held
    }
}
