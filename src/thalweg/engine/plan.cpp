// A planned step: does the plan still fit, where are the gradients, what are the step's scalars; then the kernels.
//
// plan.py and part.py fill in the structs and keep alive what they point to. What is used of CPython and of DLPack, by
// which torch says where a tensor lies, is declared here: interfaces that stay the same between versions, so that no
// header is needed. The GIL is held throughout.
#include <stdint.h>

extern "C" {
typedef struct _object PyObject;
typedef PyObject* (*Function)(PyObject* self, PyObject* const* args, intptr_t count);
struct PyMethodDef { const char* name; Function function; int flags; const char* doc; };
extern PyObject _Py_TrueStruct, _Py_FalseStruct, _Py_NoneStruct, PyFloat_Type, PyLong_Type;
PyObject* PyCFunction_NewEx(PyMethodDef*, PyObject* self, PyObject* module);
PyObject* PyObject_Vectorcall(PyObject* callable, PyObject* const* args, uintptr_t count, PyObject* names);
PyObject* PyObject_GetAttr(PyObject*, PyObject* name);
PyObject* PyObject_Type(PyObject*);
PyObject* PyList_GetItem(PyObject*, intptr_t);
PyObject* PySequence_GetItem(PyObject*, intptr_t);
PyObject* PyDict_GetItemWithError(PyObject*, PyObject* key);
PyObject* PyErr_Occurred(void);
int PyDict_Next(PyObject*, intptr_t* position, PyObject** key, PyObject** value);
int PyObject_IsTrue(PyObject*);
intptr_t PyList_Size(PyObject*);
intptr_t PyDict_Size(PyObject*);
double PyFloat_AsDouble(PyObject*);
void* PyLong_AsVoidPtr(PyObject*);
void PyErr_Clear(void);
void Py_IncRef(PyObject*);
void Py_DecRef(PyObject*);
}

struct Tensor {  // DLTensor
    void* data;
    int32_t device, device_index, dimensions;
    uint8_t kind, bits;
    uint16_t lanes;
    const int64_t *shape, *strides;
    uint64_t offset;
};
struct Exchange {  // DLPackExchangeAPI
    uint32_t major, minor;
    void* before;
    void *allocate, *from_python, *to_python;
    int (*look)(PyObject*, Tensor*);
};

typedef PyObject* const* Objects;

static const uint8_t COMPLEX = 5;  // kDLComplex

struct Part {  // the tensors that one call of a kernel takes: of one type, with one t
    // a step finds them as the last one left them
    int64_t tensors;
    Objects params;
    void* const* places;  // where they lie
    const int64_t* dimensions;
    const int64_t* const* shapes;   // of a parameter and of its gradient
    const int64_t* const* strides;  // likewise
    const int64_t *kinds, *bits;    // the dtype of its gradient
    int64_t kept;
    Objects owners, keys, values;  // a slot is owners[i][keys[i]]
    void* const* slots;   // where it lies
    // from the group's settings and the shared numbers to the kernel's scalars
    int64_t shared;       // step counts (first, if they are kept) and a rule's own numbers, one per tensor, all equal
    void* const* numbers;
    const int64_t* wide;  // float64, else float32
    int64_t counts;       // whether the first of them is t
    double* inputs;       // t, the rule's own numbers, hyper-parameters
    double* outputs;      // the kernel's scalars, the rule's own numbers
    int64_t scalars;
    void (*host)(const double*, double*);
    // the call
    int64_t total;
    const int64_t* ends;
    void** table;
    int64_t width, column;  // of the gradients in the table; -1: not needed
    void (*kernel)(int64_t, int64_t, int64_t, const int64_t*, void* const*, const double*, const double*, double*);
    const double* per_tensor;
    PyObject* launch;     // called instead of the kernel; or None
};

struct Plan {  // of a group
    int64_t parts;
    const Part* const* part;
    int64_t listed;
    Objects params;       // what the group holds
    const int64_t* still; // whether it has no gradient, and is left alone
    int64_t known;
    Objects states;       // of all parameters of the optimizer, in order
    int64_t switches;
    Objects switch_names, switch_values;  // NULL: not in the group
    int64_t amounts;
    Objects amount_names; // a slot is kept if this number is not zero
    const int64_t* amounts_on;  // 2: not in the group; 3: None
    int64_t hypers;
    Objects hyper_names;
    const int64_t* items; // which item of a tuple; -1: it is a number
    const double* defaults;
    double* settings;     // the hyper-parameters of this step
    // torch's and ours
    const Exchange* torch;
    PyObject *grad, *tensor, *is_neg, *is_conj, *plain, *written;
    PyObject* moved;      // a list of the parameters that are not left alone
};

static PyObject* call(PyObject* callable, PyObject* argument) {
    return PyObject_Vectorcall(callable, &argument, 1, nullptr);
}

static bool is(PyObject* found, PyObject* wanted) {  // takes the reference over; an error means no
    if (!found) return PyErr_Clear(), false;
    Py_DecRef(found);
    return found == wanted;
}

static bool is_empty(const Tensor& found) {
    for (int32_t d = 0; d < found.dimensions; ++d)
        if (!found.shape[d]) return true;
    return false;
}

static bool look(const Plan& plan, PyObject* tensor, Tensor& found) {  // what does not lie in memory says no
    if (plan.torch->look(tensor, &found)) return PyErr_Clear(), false;
    if (!found.data && !is_empty(found)) return false;  // torch's zeros without memory; or it was freed
    found.data = (char*)found.data + found.offset;
    return true;
}

static bool laid_out(const Part& part, const Tensor& found, int64_t k) {
    bool same = found.dimensions == part.dimensions[k];
    for (int32_t d = 0; same && d < found.dimensions; ++d) {
        int64_t size = part.shapes[k][d];
        same = found.shape[d] == size && (size == 1 || (found.strides && found.strides[d] == part.strides[k][d]));
    }
    return same;
}

static bool is_plain(const Plan& plan, PyObject* x, const Tensor& found) {  // not a view that changes signs
    if (found.kind == COMPLEX && !is(call(plan.is_conj, x), &_Py_FalseStruct)) return false;
    for (int32_t d = 0; d < found.dimensions; ++d)
        if (found.shape[d] != 1 && found.kind != COMPLEX) return true;  // of real numbers, such a view has strides
    return is(call(plan.is_neg, x), &_Py_FalseStruct);
}

static bool listed_alike(const Plan& plan, PyObject* params, PyObject* states) {
    if (PyList_Size(params) != plan.listed || PyDict_Size(states) != plan.known) return PyErr_Clear(), false;
    intptr_t position = 0;
    PyObject *key, *value;
    for (int64_t i = 0; i < plan.known && PyDict_Next(states, &position, &key, &value); ++i)
        if (value != plan.states[i]) return false;
    for (int64_t i = 0; i < plan.listed; ++i) {
        PyObject* p = PyList_GetItem(params, i);
        if (p != plan.params[i]) return false;
        if (plan.still[i] && !is(PyObject_GetAttr(p, plan.grad), &_Py_NoneStruct)) return false;
    }
    return true;
}

static bool fits(const Plan& plan, const Part& part) {
    Tensor found;
    for (int64_t i = 0; i < part.kept; ++i) {
        PyObject* value = PyDict_GetItemWithError(part.owners[i], part.keys[i]);
        if (value != part.values[i]) return PyErr_Clear(), false;
        if (!look(plan, value, found) || found.data != part.slots[i]) return false;
    }
    for (int64_t k = 0; k < part.tensors; ++k) {
        PyObject *p = part.params[k], *g = PyObject_GetAttr(p, plan.grad);
        bool there = look(plan, p, found) && found.data == part.places[k] && laid_out(part, found, k) &&
                     (found.kind != COMPLEX || is_plain(plan, p, found));
        bool good = there && g && is(PyObject_Type(g), plan.tensor) && look(plan, g, found) && laid_out(part, found, k) &&
                    found.kind == part.kinds[k] && found.bits == part.bits[k] && found.device == 1 && is_plain(plan, g, found);
        if (!good) PyErr_Clear();
        if (g) Py_DecRef(g);  // the parameter holds it
        if (!good) return false;
        if (part.column >= 0) part.table[k * part.width + part.column] = found.data;
    }
    return true;
}

static bool switched_alike(const Plan& plan, PyObject* group) {
    for (int64_t i = 0; i < plan.switches; ++i)
        if (PyDict_GetItemWithError(group, plan.switch_names[i]) != plan.switch_values[i]) return PyErr_Clear(), false;
    for (int64_t i = 0; i < plan.amounts; ++i) {
        PyObject* value = PyDict_GetItemWithError(group, plan.amount_names[i]);
        int64_t on = !value ? 2 : value == &_Py_NoneStruct ? 3 : PyObject_IsTrue(value);
        if (on != plan.amounts_on[i]) return PyErr_Clear(), false;
    }
    return true;
}

static double number(const Plan& plan, PyObject* value) {  // on an error, one is set
    PyObject* type = PyObject_Type(value);
    Py_DecRef(type);
    if (type == &PyFloat_Type || type == &PyLong_Type) return PyFloat_AsDouble(value);
    PyObject* found = call(plan.plain, value);  // a tensor, or numpy's
    if (!found) return -1;
    double result = PyFloat_AsDouble(found);
    Py_DecRef(found);
    return result;
}

static bool read_settings(const Plan& plan, PyObject* group) {
    double* to = plan.settings;
    for (int64_t i = 0; i < plan.hypers; ++i) {
        PyObject* value = PyDict_GetItemWithError(group, plan.hyper_names[i]);
        if (value && plan.items[i] >= 0) {
            PyObject* item = PySequence_GetItem(value, plan.items[i]);
            to[i] = item ? number(plan, item) : 0;
            if (item) Py_DecRef(item);
        } else {
            to[i] = value ? number(plan, value) : plan.defaults[i];
        }
        if (PyErr_Occurred()) return PyErr_Clear(), false;  // the general way says what is wrong
    }
    return true;
}

static double one(const Part& part, int64_t i, int64_t k) {
    void* place = part.numbers[i * part.tensors + k];
    return part.wide[i] ? *(double*)place : (double)*(float*)place;
}

static bool read_inputs(const Plan& plan, const Part& part) {
    for (int64_t i = 0; i < part.shared; ++i) {
        double first = part.inputs[i + 1 - part.counts] = one(part, i, 0);
        for (int64_t k = 1; k < part.tensors; ++k)
            if (one(part, i, k) != first) return false;
    }
    if (part.counts) part.inputs[0] = (double)(int64_t)part.inputs[0] + 1;
    double* to = part.inputs + 1 + part.shared - part.counts;
    for (int64_t i = 0; i < plan.hypers; ++i) to[i] = plan.settings[i];
    return true;
}

static void write_shared(const Part& part) {
    for (int64_t i = 0; i < part.shared; ++i) {
        double value = part.counts && !i ? part.inputs[0] : part.outputs[part.scalars + i - part.counts];
        for (int64_t k = 0; k < part.tensors; ++k) {
            void* place = part.numbers[i * part.tensors + k];
            if (part.wide[i]) *(double*)place = value; else *(float*)place = (float)value;
        }
    }
}

static bool ready(const Plan& plan, PyObject* group, PyObject* params, PyObject* states) {  // nothing changes
    bool good = switched_alike(plan, group) && listed_alike(plan, params, states) && read_settings(plan, group);
    for (int64_t i = 0; good && i < plan.parts; ++i) good = fits(plan, *plan.part[i]) && read_inputs(plan, *plan.part[i]);
    return good;
}

static bool take(const Part& part) {  // on an error, one is set
    part.host(part.inputs, part.outputs);
    write_shared(part);
    if (part.launch == &_Py_NoneStruct) {
        part.kernel(0, part.total, part.tensors, part.ends, part.table, part.outputs, part.per_tensor, nullptr);
        return true;
    }
    PyObject* done = PyObject_Vectorcall(part.launch, nullptr, 0, nullptr);
    if (done) Py_DecRef(done);
    return done;
}

static bool take(const Plan& plan) {
    for (int64_t i = 0; i < plan.parts; ++i)
        if (!take(*plan.part[i])) return false;
    PyObject* written = call(plan.written, plan.moved);
    if (written) Py_DecRef(written);
    return written;
}

static PyObject* given(PyObject* found) { return Py_IncRef(found), found; }

static const Plan& plan_of(PyObject* self) { return *(const Plan*)PyLong_AsVoidPtr(self); }

static PyObject* ready(PyObject* self, PyObject* const* args, intptr_t) {  // of the group, its parameters, all states
    return given(ready(plan_of(self), args[0], args[1], args[2]) ? &_Py_TrueStruct : &_Py_FalseStruct);
}

static PyObject* take(PyObject* self, PyObject* const*, intptr_t) {
    return take(plan_of(self)) ? given(&_Py_NoneStruct) : nullptr;
}

// Python functions: whether the step can be taken so, and to take it. `plan` is the struct's address as a Python number.
extern "C" PyObject* planned(PyObject* plan, int taken) {
    static PyMethodDef methods[] = {{"ready", ready, 0x80, nullptr}, {"take", take, 0x80, nullptr}};  // METH_FASTCALL
    return PyCFunction_NewEx(&methods[taken], plan, nullptr);
}
