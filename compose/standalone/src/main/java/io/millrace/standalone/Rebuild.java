package io.millrace.standalone;

import io.lettuce.core.RedisClient;
import io.lettuce.core.SetArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.HttpEmbedder;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.knowledge.VectorIndex;
import io.millrace.log.Codecs;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogRecord;
import io.millrace.log.LogSettings;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.routers.cache.Bans;
import io.millrace.routers.dispatch.Claims;
import io.millrace.schema.Completion;
import io.millrace.schema.Passage;
import io.millrace.sinks.index.IndexProjection;
import io.millrace.sinks.postgres.PostgresRebuild;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Parts;
import java.nio.file.Path;
import java.sql.SQLException;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.apache.avro.specific.SpecificRecord;

/** Drops a projection and makes it anew from archive and log, while no service runs on the data folder. */
public final class Rebuild {
    /** What can be rebuilt. */
    public enum What {
        INDEX,
        POSTGRES,
        REDIS
    }

    /** Between two lines of progress. */
    private static final Duration TELL = Duration.ofSeconds(5);

    private final Consumer<String> say;

    /**
     * What came of it.
     *
     * @param counts by name: what is there, and what the log says should be
     * @param exact whether they agree
     */
    public record Result(Map<String, Long> counts, boolean exact) {
        public Result {
            counts = Map.copyOf(counts);
        }
    }

    private Rebuild(Consumer<String> say) {
        this.say = say;
    }

    /**
     * Starts the parts, rebuilds, stops the parts.
     *
     * @param say receives progress, line by line
     * @throws UserException when something runs on the folder, or it cannot be done
     */
    public static Result run(Loaded loaded, Path folder, What what, Consumer<String> say) {
        MillraceConfig config = loaded.config();
        try (DataFolder data = DataFolder.open(folder, config.limits().freeDiskBytes())) {
            Confinement.to(data);
            try (Parts parts = new Parts(data, config, say)) {
                parts.start(() -> Services.createTopics(config, parts.endpoints()));
                LogSettings settings = config.log(parts.endpoints().bootstrapServers());
                Codecs codecs =
                        new Codecs(new HttpSchemaRegistry(parts.endpoints().registryUrl()), settings.prefix());
                try (LogProducer producer = new LogProducer(settings, codecs)) {
                    Log log = new Log(settings, codecs, producer, new SimpleMeterRegistry());
                    Rebuild rebuild = new Rebuild(say);
                    return switch (what) {
                        case INDEX -> rebuild.index(log, data, config);
                        case POSTGRES -> rebuild.postgres(log, data, parts.endpoints());
                        case REDIS -> rebuild.redis(log, parts.endpoints());
                    };
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted; run it again", e);
        } catch (SQLException e) {
            throw new UserException("PostgreSQL did not do its part: " + e.getMessage(), e);
        }
    }

    private Result index(Log log, DataFolder data, MillraceConfig config) throws InterruptedException {
        MillraceConfig.Embedding embedding = config.knowledge().embedding();
        Optional<HttpEmbedder> served = HttpEmbedder.of(embedding, HttpEmbedder.Role.PASSAGE, embedding.timeout());
        try (MiniLmEmbedder own = new MiniLmEmbedder(1)) {
            Embedder embedder = served.isPresent() ? served.get() : own;
            // those of another model are embedded anew by the next start; on a server there are only the collections
            // that are configured
            Set<String> expected = keys(
                    log,
                    passage -> passage.getEmbeddingModel().equals(embedder.fingerprint())
                            && (!Services.isOnServer(config)
                                    || config.collections().contains(passage.getCollection())));
            // closed by the projection
            VectorIndex index = Services.newIndex(config, data, embedder);
            try (IndexProjection projection = new IndexProjection(
                    log, index, embedder.fingerprint(), config.knowledge().settleAfter())) {
                projection.start();
                long told = System.nanoTime();
                while (!projection.isReady() || !projection.details().isEmpty()) {
                    Thread.sleep(50);
                    if (System.nanoTime() - told > TELL.toNanos()) {
                        told = System.nanoTime();
                        say.accept("index: %d passages so far%s"
                                .formatted(
                                        projection.progress(),
                                        projection.details().isEmpty() ? "" : " " + projection.details()));
                    }
                }
                index.refresh();
                long passages = index.count();
                say.accept("index: %d passages, the log has %d".formatted(passages, expected.size()));
                return new Result(
                        Map.of("passages", passages, "expected", (long) expected.size()), passages == expected.size());
            }
        } finally {
            served.ifPresent(HttpEmbedder::close);
        }
    }

    private static Set<String> keys(Log log, Predicate<Passage> isKept) throws InterruptedException {
        Set<String> keys = new HashSet<>();
        read(log, Topics.PASSAGES, record -> {
            Passage passage = record.value();
            if (passage == null || !isKept.test(passage)) {
                keys.remove(record.key());
            } else {
                keys.add(record.key());
            }
        });
        return keys;
    }

    private Result postgres(Log log, DataFolder data, Endpoints at) throws SQLException, InterruptedException {
        PostgresRebuild.Result result = new PostgresRebuild(log, at.jdbcUrl(), at.user(), at.password())
                .run(data.root().resolve(DataFolder.ARCHIVE), say);
        Map<String, Long> counts = new TreeMap<>();
        result.tables().forEach(table -> {
            counts.put(table.table(), table.rows());
            counts.put(table.table() + "_expected", table.expected());
        });
        counts.put("from_archive", result.archived());
        counts.put("unread_in_archive", result.unread());
        counts.put("gaps", (long) result.gaps().size());
        return new Result(counts, result.isExact());
    }

    /** Embeddings come back with use; keys that mean something are in the log. */
    private Result redis(Log log, Endpoints at) throws InterruptedException {
        long now = System.currentTimeMillis();
        Map<String, String> values = new HashMap<>();
        Map<String, Long> until = new HashMap<>();
        KeyedQueries keyed = new KeyedQueries(now);
        read(log, Topics.INTERACTIONS, record -> {
            if (record.value() != null) {
                keyed.ended(record.value(), record.timestamp());
            }
        });
        read(log, Topics.QUERIES, record -> {
            if (record.value() != null) {
                keyed.asked(record.value(), record.timestamp());
            }
        });
        keyed.addTo(values, until);
        long keys = values.size();
        // without the mark, the running service finds for itself what was said meanwhile
        Bans.All bans = Bans.read(log, 0);
        bans.keys().forEach((key, kept) -> {
            values.put(key, kept.value());
            until.put(key, kept.until());
        });
        read(log, Topics.COMPLETIONS, record -> {
            Completion completion = record.value();
            long end = record.timestamp() + Claims.KEEP.toMillis();
            if (completion != null && isOfAnAttempt(completion.getKind()) && end > now) {
                String key = Claims.key(completion.getInteractionId(), completion.getAttempt());
                values.putIfAbsent(key, completion.getWorkerId());
                until.putIfAbsent(key, end);
            }
        });
        RedisClient client = RedisClient.create(at.redisUrl());
        try (StatefulRedisConnection<String, String> connection = client.connect()) {
            RedisCommands<String, String> redis = connection.sync();
            // the server may be shared, so not all of it
            redis.keys("millrace:*").forEach(redis::unlink);
            values.forEach((key, value) ->
                    redis.set(key, value, SetArgs.Builder.px(Duration.ofMillis(until.getOrDefault(key, now) - now))));
            long there = redis.keys("millrace:*").size();
            long claims = values.size() - keys - bans.keys().size();
            say.accept("redis: %d idempotency keys, %d claims, %d rejections of cached answers"
                    .formatted(keys, claims, bans.pairs()));
            return new Result(
                    Map.of("idempotency_keys", keys, "claims", claims, "bans", (long) bans.pairs(), "keys", there),
                    there == values.size());
        } finally {
            client.shutdown(Duration.ZERO, Duration.ofSeconds(1));
        }
    }

    /** What ended at once has not started, and a watermark is of no attempt. */
    private static boolean isOfAnAttempt(String kind) {
        return !kind.equals(CompletionKind.HEARTBEAT) && !kind.equals(CompletionKind.WATERMARK);
    }

    private static <V extends SpecificRecord> void read(Log log, Topic<V> topic, Consumer<LogRecord<V>> handler)
            throws InterruptedException {
        try (LogTail<V> tail = new LogTail<>("rebuild", topic, LogTail.From.BEGINNING, log, handler::accept)) {
            tail.start().caughtUp().get();
        } catch (ExecutionException e) {
            throw new UserException(topic.name() + " cannot be read: " + e.getCause(), e);
        }
    }
}
