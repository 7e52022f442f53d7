/** Knowledge as a library: embedding, chunking, the vector index and search over it. No loops and no log of its own. */
@NullMarked
package io.millrace.knowledge;

import org.jspecify.annotations.NullMarked;
