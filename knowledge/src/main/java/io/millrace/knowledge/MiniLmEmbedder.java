package io.millrace.knowledge;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.embedding.onnx.AbstractInProcessEmbeddingModel;
import dev.langchain4j.model.embedding.onnx.OnnxBertBiEncoder;
import dev.langchain4j.model.embedding.onnx.PoolingMode;
import dev.langchain4j.model.embedding.onnx.allminilml6v2q.AllMiniLmL6V2QuantizedEmbeddingModel;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * all-MiniLM-L6-v2, quantized, in this process: 384 dimensions, about 3 ms of a core for a question. It reads 256 word pieces and
 * ignores the rest.
 *
 * <p>A text is one thread's work, and several texts go side by side. ONNX Runtime would by default share each text among as many threads as there are
 * cores, and let them spin for 20 ms after it in case another comes: five times the processor time of a question, taken from the search that
 * follows it.
 *
 * <p>The tokenizer unpacks a native library into {@code DJL_CACHE_DIR} (a system property; without it, the home folder).
 */
public final class MiniLmEmbedder implements Embedder, AutoCloseable {
    private static final int DIMENSION = 384;

    private final ExecutorService threads;
    private final Model model;

    /** @param parallelism texts embedded at once, at least 1 */
    public MiniLmEmbedder(int parallelism) {
        this.threads = Executors.newFixedThreadPool(
                parallelism, Thread.ofPlatform().name("embed-", 0).daemon().factory());
        this.model = new Model(threads);
    }

    @Override
    public List<float[]> embed(List<String> texts) {
        try {
            if (texts.size() == 1) {
                // an empty text is no text to the library
                return List.of(model.embed(nonEmpty(texts.get(0))).content().vector());
            }
            List<TextSegment> segments =
                    texts.stream().map(text -> TextSegment.from(nonEmpty(text))).toList();
            return model.embedAll(segments).content().stream()
                    .map(embedding -> embedding.vector())
                    .toList();
        } catch (RuntimeException e) {
            throw new EmbeddingException("the embedding model failed: " + e.getMessage(), e);
        }
    }

    private static String nonEmpty(String text) {
        return text.isBlank() ? "-" : text;
    }

    @Override
    public String fingerprint() {
        return "all-MiniLM-L6-v2-q:1";
    }

    @Override
    public int dimension() {
        return DIMENSION;
    }

    @Override
    public void close() {
        threads.shutdownNow();
    }

    /** The library's own class for this model takes no options of the runtime. */
    private static final class Model extends AbstractInProcessEmbeddingModel {
        /** One for the process, and never closed: nobody may close it while another thread is in it. */
        private static final OnnxBertBiEncoder ENCODER = load();

        Model(Executor executor) {
            super(executor);
        }

        @Override
        protected OnnxBertBiEncoder model() {
            return ENCODER;
        }

        private static OnnxBertBiEncoder load() {
            OrtEnvironment environment = OrtEnvironment.getEnvironment();
            try (OrtSession.SessionOptions options = new OrtSession.SessionOptions();
                    InputStream weights = resource("all-minilm-l6-v2-q.onnx");
                    InputStream tokenizer = resource("all-minilm-l6-v2-q-tokenizer.json")) {
                options.setIntraOpNumThreads(1);
                OrtSession session = environment.createSession(weights.readAllBytes(), options);
                return new OnnxBertBiEncoder(environment, session, tokenizer, PoolingMode.MEAN);
            } catch (OrtException e) {
                throw new EmbeddingException("the embedding model cannot be loaded: " + e.getMessage(), e);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        private static InputStream resource(String name) {
            return Objects.requireNonNull(
                    AllMiniLmL6V2QuantizedEmbeddingModel.class.getResourceAsStream("/" + name),
                    () -> name + " is not on the class path");
        }
    }
}
