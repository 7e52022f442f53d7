package io.millrace.gateway;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.gateway.Idempotency.Claim;
import io.millrace.gateway.IdempotencyKeys.Holder;
import io.millrace.id.Ids;
import io.millrace.log.Records;
import io.millrace.schema.Answer;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.lang.reflect.Proxy;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class IdempotencyTest {
    static {
        Records.trust();
    }

    private final Idempotency keys = new Idempotency(new NoKeyStore(), 1_000_000);

    private Claim claim(String key) {
        return keys.claim(Query.newBuilder()
                        .setInteractionId(Ids.next())
                        .setIdempotencyKey(key)
                        .build())
                .toCompletableFuture()
                .join();
    }

    private void answer(String key, int chars) {
        Claim claim = claim(key);
        assertThat(claim)
                .isInstanceOfSatisfying(
                        Claim.First.class,
                        first -> first.course()
                                .outcome()
                                .complete(new Outcome.Answered(Reply.newBuilder()
                                        .setAnswer(Answer.newBuilder()
                                                .setText("x".repeat(chars))
                                                .build())
                                        .build())));
    }

    /** Answers of megabytes, some thousand of them, would be the end of the process. */
    @Test
    void shouldRememberAnswersUpToABound() {
        for (int i = 0; i < 30; i++) {
            answer("large " + i, 100_000);
        }

        long remembered = IntStream.range(0, 30)
                .filter(i -> claim("large " + i) instanceof Claim.Repeat)
                .count();
        assertThat(remembered).isBetween(5L, 10L);
    }

    /** It was told that the first request has not ended, which it had, and of an interaction that never was. */
    @Test
    void shouldSendWhoCameMeanwhileElsewhereToo() {
        CompletableFuture<Optional<Holder>> told = new CompletableFuture<>();
        Idempotency slow = new Idempotency((KeyStore) Proxy.newProxyInstance(
                KeyStore.class.getClassLoader(), new Class<?>[] {KeyStore.class}, (proxy, method, arguments) -> {
                    assertThat(method.getName()).isEqualTo("claim");
                    return told;
                }));
        Query query = Query.newBuilder()
                .setInteractionId(Ids.next())
                .setIdempotencyKey("k")
                .build();
        CompletionStage<Claim> one = slow.claim(query);
        Claim other = slow.claim(
                        Query.newBuilder(query).setInteractionId(Ids.next()).build())
                .toCompletableFuture()
                .join();
        Holder before =
                Holder.of(Query.newBuilder(query).setInteractionId(Ids.next()).build());

        told.complete(Optional.of(before));

        assertThat(one.toCompletableFuture().join()).isEqualTo(new Claim.Elsewhere(before));
        assertThat(other).isInstanceOfSatisfying(Claim.Repeat.class, repeat -> {
            assertThat(repeat.course().elsewhere()).isCompletedWithValue(before);
            assertThat(repeat.course().outcome()).isNotDone();
        });
    }

    @Test
    void shouldRememberManySmallOnes() {
        for (int i = 0; i < 100; i++) {
            answer("small " + i, 100);
        }

        assertThat(claim("small 0")).isInstanceOf(Claim.Repeat.class);
        assertThat(claim("small 99")).isInstanceOf(Claim.Repeat.class);
    }
}
