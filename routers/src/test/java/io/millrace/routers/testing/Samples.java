package io.millrace.routers.testing;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.Secret;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.Route;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Envelope;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/** Configurations and work to do. */
public final class Samples {
    static {
        // builders with default values ask whom Avro trusts, which codecs tell it
        new Codecs(new InMemorySchemaRegistry(), "").of(Topics.COMPLETIONS).prepare();
    }

    private Samples() {}

    public static Deployment deployment(String name, String url, double price, int concurrency, Duration timeout) {
        return new Deployment(
                name, url, "big", new Secret("k-1"), price, 2 * price, 0, Set.of("json"), concurrency, timeout);
    }

    public static Backend backend(String name, Locality locality, Kind kind, Deployment... deployments) {
        return new Backend(name, locality, kind, List.of(deployments));
    }

    /** Defaults with these backends, three failures to open a circuit, and a queue of two. */
    public static MillraceConfig config(Backend... backends) {
        MillraceConfig defaults = MillraceConfig.defaults();
        return new MillraceConfig(
                defaults.listen(),
                defaults.kafka(),
                defaults.retention(),
                defaults.registry(),
                defaults.postgres(),
                defaults.redis(),
                Arrays.stream(backends).collect(Collectors.toMap(Backend::name, backend -> backend)),
                defaults.models(),
                defaults.routing(),
                defaults.retrieval(),
                defaults.knowledge(),
                defaults.cache(),
                new MillraceConfig.Dispatch(
                        2, Duration.ofMillis(200), Duration.ofMillis(100), 3, Duration.ofSeconds(30)),
                defaults.limits(),
                defaults.collections(),
                defaults.connect());
    }

    /** A query with 30 s to live. */
    public static Query.Builder query() {
        return Query.newBuilder()
                .setEnvelope(envelope())
                .setGatewayId("gateway")
                .setReplyPartition(3)
                .setDeadlineAt(System.currentTimeMillis() + 30_000)
                .setText("Where is the mill?")
                .setBody("{\"model\":\"millrace\",\"seed\":7,"
                        + "\"messages\":[{\"role\":\"user\",\"content\":\"Where is the mill?\"}]}");
    }

    /** An attempt on the deployment {@code one} of the backend {@code local}. */
    public static Dispatch.Builder dispatch(Query query) {
        String id = Ids.next();
        return Dispatch.newBuilder()
                .setEnvelope(envelope())
                .setInteractionId(id)
                .setRoute(Route.LOCAL)
                .setBackend("local")
                .setDeployment("one")
                .setQuery(Query.newBuilder(query).setInteractionId(id).build());
    }

    /** An attempt of a built-in. */
    public static Dispatch.Builder builtin(Query query, String route) {
        return dispatch(query).setRoute(route).setBackend(Topics.BUILTIN).setDeployment("");
    }

    public static Hit hit(String path, String text) {
        return Hit.newBuilder().setTitle("A title").setPath(path).setText(text).build();
    }

    /** The backends of {@link #dispatch}, at this URL. */
    public static MillraceConfig local(String url) {
        return config(
                backend("local", Locality.LOCAL, Kind.LLAMA_CPP, deployment("one", url, 0, 2, Duration.ofSeconds(10))));
    }

    /** The same, and every call costs: a dollar a million tokens in, two out. */
    public static MillraceConfig paid(String url) {
        return config(
                backend("local", Locality.REMOTE, Kind.OPENAI, deployment("one", url, 1, 2, Duration.ofSeconds(10))));
    }

    private static Envelope envelope() {
        return Envelope.newBuilder().setOccurredAt(System.currentTimeMillis()).build();
    }
}
