package io.millrace.gateway;

import io.github.bucket4j.ConsumptionProbe;
import io.millrace.gateway.IdempotencyKeys.Holder;
import java.util.Optional;
import java.util.concurrent.CompletionStage;

/** What gateways keep in common: idempotency keys, how much each client took of its limits, and the epoch of the response cache. */
interface KeyStore extends AutoCloseable {
    /** Claims a key; the result is who had it first, or empty when it is ours or nothing can be known. */
    CompletionStage<Optional<Holder>> claim(String key, Holder holder);

    /**
     * Claims a key that stands for an interaction that there never was; the result is who has it now, or empty when it is ours. While nothing
     * can be known it stays as it is.
     */
    CompletionStage<Optional<Holder>> replace(String key, Holder gone, Holder holder);

    /** Gives a key back, since its query was never accepted; one that another holds by now stays as it is. */
    void release(String key, Holder holder);

    /**
     * Takes one of so many that a key may have a minute, at all gateways together; empty when nothing can be known.
     *
     * @param key whose limit, and which
     */
    CompletionStage<Optional<ConsumptionProbe>> take(String key, int perMinute);

    /** Ends all entries of the response cache; the result is the new epoch, and fails where it could not be written. */
    CompletionStage<Long> endCache();

    /** Whether the last call got through. */
    boolean isUp();

    @Override
    void close();
}
