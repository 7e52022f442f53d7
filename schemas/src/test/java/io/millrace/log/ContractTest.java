package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.config.Settings;
import io.millrace.schema.Query;
import io.millrace.schema.Tick;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What every topic promises, and that its values survive the wire. */
class ContractTest {
    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");

    static Stream<Topic<?>> topics() {
        Records.trust();
        return Topics.all(List.of("local")).stream();
    }

    @ParameterizedTest
    @MethodSource("topics")
    void shouldStartWithTheEnvelopeAndDocumentAndDefaultEachField(Topic<?> topic) {
        assertThat(topic.schema().getFields().getFirst().name()).isEqualTo("envelope");
        check(topic.schema());
    }

    private static void check(Schema schema) {
        assertThat(schema.getDoc()).as(schema.getName()).isNotBlank();
        for (Schema.Field field : schema.getFields()) {
            assertThat(field.doc()).as(schema.getName() + "." + field.name()).isNotBlank();
            assertThat(field.hasDefaultValue())
                    .as(schema.getName() + "." + field.name())
                    .isTrue();
        }
    }

    @ParameterizedTest
    @MethodSource("topics")
    void shouldSurviveTheWire(Topic<?> topic) {
        roundTrip(topic, new Random(7));
    }

    private <V extends SpecificRecord> void roundTrip(Topic<V> topic, Random random) {
        AvroCodec<V> codec = codecs.of(topic);
        for (int i = 0; i < 20; i++) {
            V value = topic.type().cast(random(topic.schema(), random));
            byte[] bytes = codec.encode(value);
            assertThat(codec.decode(bytes)).isEqualTo(value);
            // whatever is cut off or changed, it is undecodable or another value, and nothing else is thrown
            for (int cut = 0; cut < 20; cut++) {
                byte[] broken = Arrays.copyOf(bytes, random.nextInt(bytes.length));
                if (broken.length > 6) {
                    broken[5 + random.nextInt(broken.length - 5)] ^= (byte) (1 + random.nextInt(255));
                }
                try {
                    codec.decode(broken);
                } catch (UndecodableException e) {
                    assertThat(e).hasMessageContaining("");
                }
            }
        }
    }

    private static Object random(Schema schema, Random random) {
        return switch (schema.getType()) {
            case RECORD -> {
                IndexedRecord record = (IndexedRecord)
                        SpecificData.newInstance(SpecificData.get().getClass(schema), schema);
                schema.getFields().forEach(field -> record.put(field.pos(), random(field.schema(), random)));
                yield record;
            }
            case UNION ->
                random.nextBoolean() ? nothing() : random(schema.getTypes().get(1), random);
            case ARRAY -> {
                List<Object> list = new ArrayList<>();
                for (int i = random.nextInt(3); i > 0; i--) {
                    list.add(random(schema.getElementType(), random));
                }
                yield list;
            }
            case MAP -> new HashMap<>(Map.of("k", random(schema.getValueType(), random)));
            case STRING -> "s" + random.nextInt(1_000);
            case INT -> random.nextInt();
            case LONG -> random.nextLong();
            case DOUBLE -> random.nextDouble();
            case BOOLEAN -> random.nextBoolean();
            case BYTES -> ByteBuffer.wrap(new byte[] {1, (byte) random.nextInt()});
            default -> throw new IllegalStateException("no schema of ours has a " + schema.getType());
        };
    }

    @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"})
    private static <T> T nothing() {
        return null;
    }

    @Test
    void shouldSayWhatIsWrongWithBytesThatAreNoValue() {
        AvroCodec<Tick> codec = codecs.of(Topics.TICKS);

        assertThatThrownBy(() -> codec.decode(new byte[] {1, 2, 3})).isInstanceOf(UndecodableException.class);
        assertThatThrownBy(() -> codec.decode(new byte[] {0, 0, 0, 0, 99, 1})).isInstanceOf(UndecodableException.class);
        assertThatThrownBy(() -> codec.decode(null)).isInstanceOf(UndecodableException.class);
        byte[] query = codecs.of(Topics.QUERIES).encode(Query.newBuilder().build());
        assertThatThrownBy(() -> codec.decode(query))
                .isInstanceOf(UndecodableException.class)
                .hasMessageContaining("is a io.millrace.schema.Query and no Tick");
    }

    @Test
    void shouldCommitTheLowestUnfinishedOffset() {
        Random random = new Random(3);
        OffsetTracker tracker = new OffsetTracker(100);
        TreeSet<Long> open = new TreeSet<>();
        long next = 100;
        for (int i = 0; i < 10_000; i++) {
            if (open.isEmpty() || random.nextInt(3) > 0) {
                // compaction leaves holes
                next += random.nextInt(3);
                tracker.take(next);
                open.add(next++);
            } else {
                List<Long> all = List.copyOf(open);
                long done = all.get(random.nextInt(all.size()));
                tracker.finish(done);
                open.remove(done);
            }
            assertThat(tracker.committable()).isEqualTo(open.isEmpty() ? next : open.first());
        }
    }

    /** The tables in the docs are the code's; {@code -Ddocs.write} writes them anew. */
    @Test
    void shouldDocumentTopicsAndSettingsAsTheyAre() throws IOException {
        same(
                "topics.md",
                "# Topics\n\nValues are Avro in Confluent's wire format, subject `<topic>-value`; every value starts with an envelope (when, tenant, principal,"
                        + " trace, synthetic). Names get the prefix `kafka.prefix`.\n\n" + Topics.markdown());
        same(
                "configuration.md",
                "# Configuration\n\n`millrace.yaml` in the data folder, or `--config FILE`; none is needed. Over it come `MILLRACE_*` variables (`routing.local` is"
                        + " `MILLRACE_ROUTING_LOCAL`), then flags. `./millrace config check` finds every error at once, with file and line;"
                        + " `./millrace config show` prints each value and where it came from.\n\n"
                        + Settings.markdown()
                        + """

                        ## Backends and models

                        ```yaml
                        backends:
                          local:                        # lower-case letters, digits, dashes; its work topic is dispatch.local
                            kind: llama.cpp             # default openai: anything with /v1/chat/completions
                            locality: local             # default local for llama.cpp, else remote: requests leave the machine or the site
                            deployments:                # at least one, in order of preference
                              - url: http://127.0.0.1:8080 # up to /v1; the only field that is needed
                                name: local             # unique among all; default the backend's, then local-2, local-3, …
                                model: ""               # sent upstream; empty: the server's own
                                capabilities: [json, tools] # of json, tools, vision; default json and tools
                                concurrency: 4          # requests at once per process, 1–10000; default 4 where the locality is local, else 64
                                timeout: 120s           # until the end of the answer, 100ms–1h; default 2m
                          remote:
                            kind: openai
                            deployments:
                              - url: https://api.example.com
                                model: big
                                key-env: REMOTE_KEY     # variable with the key; or key-file, beside this file; a key in this file is an error
                                input-price: 0.5        # dollars per million tokens; default 0
                                output-price: 1.5
                                context-length: 128000  # tokens; default 0: asked of llama.cpp, else not known
                        models:
                          mine:                         # a name that clients may ask for
                            backend: ""                 # local, remote, a backend, extractive; empty, the default: routing decides
                            retrieval: auto             # off, auto, keyword, semantic, hybrid, tree; default auto
                            add-context: true           # whether passages go into the prompt; default true
                            local-only: false           # whether it may not leave the machine; default false
                            aliases: [gpt-4o]           # further names of it
                        ```

                        The models `millrace` (routing decides), `millrace/local` (backend local, local-only) and `millrace/remote` (backend remote) are there without
                        being written; one of that name in the file takes its place. A backend's name is a model, too.

                        For the first minute, without a file: `MILLRACE_LOCAL_URL` makes the backend `local` (llama.cpp), `MILLRACE_REMOTE_URL`, `MILLRACE_REMOTE_KEY`
                        and `MILLRACE_REMOTE_MODEL` make `remote` (openai). Where the file has that backend with one deployment, they come over its `url`, key and
                        `model`, which the file may leave out then; with several deployments they are an error, because they cannot say which one they mean.

                        A key that stands twice is an error, here and in `knowledge-sources.yaml`.
                        """);
    }

    private static void same(String name, String text) throws IOException {
        Path file = Path.of("..", "docs", name);
        if (System.getProperty("docs.write") != null) {
            Files.writeString(file, text);
        }
        assertThat(file).hasContent(text);
    }
}
