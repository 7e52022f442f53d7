package io.millrace.knowledge;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import dev.langchain4j.model.embedding.onnx.AbstractInProcessEmbeddingModel;
import dev.langchain4j.model.embedding.onnx.OnnxBertBiEncoder;
import dev.langchain4j.model.embedding.onnx.PoolingMode;
import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.Executor;

/**
 * A model of langchain4j's whose texts are one thread's work each, and go side by side.
 *
 * <p>ONNX Runtime would by default share each text among as many threads as there are cores, and let them spin for 20 ms after it in
 * case another comes: five times the processor time of a question, taken from the search that follows it. The library's own classes of
 * these models take no options of the runtime.
 */
final class InProcessModel extends AbstractInProcessEmbeddingModel {
    private final OnnxBertBiEncoder encoder;

    InProcessModel(OnnxBertBiEncoder encoder, Executor executor) {
        super(executor);
        this.encoder = encoder;
    }

    @Override
    protected OnnxBertBiEncoder model() {
        return encoder;
    }

    /**
     * Loads.
     *
     * @param beside class of the jar that has the model
     * @param name of its files
     */
    static OnnxBertBiEncoder load(Class<?> beside, String name, PoolingMode pooling) {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions();
                InputStream weights = resource(beside, name + ".onnx");
                InputStream tokenizer = resource(beside, name + "-tokenizer.json")) {
            options.setIntraOpNumThreads(1);
            OrtSession session = environment.createSession(weights.readAllBytes(), options);
            return new OnnxBertBiEncoder(environment, session, tokenizer, pooling);
        } catch (OrtException | IOException e) {
            throw new Embedder.EmbeddingException(name + " cannot be read as a model: " + e.getMessage(), e);
        }
    }

    private static InputStream resource(Class<?> beside, String name) throws IOException {
        InputStream in = beside.getResourceAsStream("/" + name);
        if (in == null) {
            throw new IOException(name + " is not on the class path");
        }
        return in;
    }
}
