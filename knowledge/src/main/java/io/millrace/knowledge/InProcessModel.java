package io.millrace.knowledge;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtLoggingLevel;
import ai.onnxruntime.OrtSession;
import dev.langchain4j.model.embedding.onnx.AbstractInProcessEmbeddingModel;
import dev.langchain4j.model.embedding.onnx.OnnxBertBiEncoder;
import dev.langchain4j.model.embedding.onnx.PoolingMode;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Executor;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A model of langchain4j's whose texts are one thread's work each, and go side by side.
 *
 * <p>ONNX Runtime would by default share each text among as many threads as there are cores, and let them spin for 20 ms after it in
 * case another comes: five times the processor time of a question, taken from the search that follows it. The library's own classes of
 * these models take no options of the runtime.
 */
final class InProcessModel extends AbstractInProcessEmbeddingModel {
    private static final Logger LOG = LoggerFactory.getLogger(InProcessModel.class);

    /** Where ONNX Runtime looks for its libraries, instead of in its jar. */
    private static final String LIBRARIES = "onnxruntime.native.path";

    private final OnnxBertBiEncoder encoder;

    /** ONNX Runtime's, of this process. */
    private static final class Environment {
        static final OrtEnvironment KEPT = OrtEnvironment.getEnvironment();

        static {
            keep();
        }

        /**
         * Takes one more reference. The library's shutdown hook gives back the only one at once, while whoever stops in order may still be
         * loading a model, and that is a SIGSEGV (microsoft/onnxruntime issue 31352). What the process leaves behind the system takes.
         */
        private static void keep() {
            try {
                Field api = Class.forName("ai.onnxruntime.OnnxRuntime").getDeclaredField("ortApiHandle");
                api.setAccessible(true);
                Method reference =
                        OrtEnvironment.class.getDeclaredMethod("createHandle", long.class, int.class, String.class);
                reference.setAccessible(true);
                reference.invoke(
                        null,
                        api.getLong(null),
                        OrtLoggingLevel.ORT_LOGGING_LEVEL_WARNING.getValue(),
                        OrtEnvironment.DEFAULT_NAME);
            } catch (ReflectiveOperationException | RuntimeException e) {
                LOG.warn("a stop while a model is being loaded may end in a crash: {}", e.toString());
            }
        }
    }

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
        // the tokenizer's library tells its makers of each start on one of Amazon's machines
        System.setProperty("OPT_OUT_TRACKING", "true");
        unpackRuntime();
        OrtEnvironment environment = Environment.KEPT;
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions();
                InputStream tokenizer = beside.getResourceAsStream("/" + name + "-tokenizer.json")) {
            options.setIntraOpNumThreads(1);
            Path weights = Unpacked.file(beside, name + ".onnx");
            OrtSession session = environment.createSession(weights.toString(), options);
            return new OnnxBertBiEncoder(environment, session, tokenizer, pooling);
        } catch (OrtException | IOException e) {
            throw new Embedder.EmbeddingException(name + " cannot be read as a model: " + e.getMessage(), e);
        }
    }

    /**
     * Says where the runtime's own libraries are. It would unpack them itself into what was the temporary folder when the JVM started, whatever
     * the process has set since, and a killed process would leave 16 MB there each time.
     */
    private static synchronized void unpackRuntime() {
        if (System.getProperty(LIBRARIES) != null) {
            return;
        }
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("mac") ? "osx" : "linux";
        String processor = System.getProperty("os.arch").equals("aarch64") ? "aarch64" : "x64";
        String folder = "ai/onnxruntime/native/" + system + "-" + processor + "/";
        try {
            Unpacked.file(OrtEnvironment.class, folder + System.mapLibraryName("onnxruntime"));
            Path binding = Unpacked.file(OrtEnvironment.class, folder + System.mapLibraryName("onnxruntime4j_jni"));
            System.setProperty(LIBRARIES, String.valueOf(binding.getParent()));
        } catch (IOException e) {
            // on another platform it knows what to do, or what to say
            LOG.debug("the libraries of ONNX Runtime are unpacked by itself", e);
        }
    }
}
