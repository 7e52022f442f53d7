package io.millrace.knowledge;

import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.embedding.onnx.OnnxBertBiEncoder;
import dev.langchain4j.model.embedding.onnx.PoolingMode;
import dev.langchain4j.model.embedding.onnx.bgesmallenv15q.BgeSmallEnV15QuantizedEmbeddingModel;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;

/**
 * bge-small-en-v1.5 (BAAI, MIT licence), quantized, in this process: 384 dimensions, about 3 ms for a short text. A second opinion for
 * the verdict whether two questions mean the same; nothing is searched with it.
 *
 * <p>Loaded with the first text, which takes about a second: who never needs it does not pay its memory (about 140 MB). When it cannot be
 * loaded, that is so until the process is started again.
 */
public final class BgeEmbedder implements Embedder, AutoCloseable {
    private static final int DIMENSION = 384;

    /** One for the process, and never closed: nobody may close it while another thread is in it. */
    private static @Nullable OnnxBertBiEncoder encoder;

    private final ExecutorService threads;
    private volatile @Nullable EmbeddingException failure;

    /** @param parallelism texts embedded at once, at least 1 */
    public BgeEmbedder(int parallelism) {
        this.threads = Executors.newFixedThreadPool(
                parallelism, Thread.ofPlatform().name("second-", 0).daemon().factory());
    }

    @Override
    public List<float[]> embed(List<String> texts) {
        InProcessModel model = new InProcessModel(encoder(), threads);
        try {
            List<TextSegment> segments = texts.stream()
                    .map(text -> TextSegment.from(text.isBlank() ? "-" : text))
                    .toList();
            return model.embedAll(segments).content().stream()
                    .map(embedding -> embedding.vector())
                    .toList();
        } catch (RuntimeException e) {
            throw new EmbeddingException("the second embedding model failed: " + e.getMessage(), e);
        }
    }

    private OnnxBertBiEncoder encoder() {
        EmbeddingException before = failure;
        if (before != null) {
            throw before;
        }
        try {
            return loaded();
        } catch (RuntimeException e) {
            throw failed(e.getMessage(), e);
        } catch (LinkageError e) {
            throw failed(e.toString(), e);
        }
    }

    private EmbeddingException failed(@Nullable String reason, Throwable cause) {
        EmbeddingException made =
                new EmbeddingException("the second embedding model cannot be loaded: " + reason, cause);
        failure = made;
        return made;
    }

    private static synchronized OnnxBertBiEncoder loaded() {
        if (encoder == null) {
            encoder = InProcessModel.load(
                    BgeSmallEnV15QuantizedEmbeddingModel.class, "bge-small-en-v1.5-q", PoolingMode.CLS);
        }
        return encoder;
    }

    @Override
    public String fingerprint() {
        return "bge-small-en-v1.5-q:1";
    }

    @Override
    public int dimension() {
        return DIMENSION;
    }

    @Override
    public void close() {
        threads.shutdownNow();
    }
}
