package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/strictjson"
)

// Bounds of a set. Checking a signature costs the more the longer the key is,
// and is done where connections are served.
const (
	maxBytes   = 256 << 10
	maxKeys    = 64
	maxKeyID   = 256
	rsaMinBits = 2048
	rsaMaxBits = 8192
)

// ErrSet says that a key set is not one.
var ErrSet = errors.New("not a usable key set")

// Algorithms that a token may be signed by. None is symmetric: a public key
// must never be taken for a shared secret.
func Algorithms() []string {
	return slices.Concat([]string{"EdDSA", "ES256", "ES384", "ES512"}, rsaAlgorithms())
}

func rsaAlgorithms() []string { return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} }

// Key is one public key. Keys are compared by address: one that is read again
// unchanged stays the same.
type Key struct {
	ID     string
	Public crypto.PublicKey

	algorithms []string
}

// Fits says whether the key may check a signature of that algorithm.
func (k *Key) Fits(algorithm string) bool { return slices.Contains(k.algorithms, algorithm) }

// same says whether two keys check the same signatures.
func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.Public) && slices.Equal(k.algorithms, other.algorithms)
}

// Keys are a set, by id.
type Keys map[string]*Key

// Parse reads a key set. It also says which keys it passed over and why. A set
// without any usable key is an error, which wraps ErrSet.
func Parse(data []byte) (keys Keys, passed []string, err error) {
	if len(data) > maxBytes {
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrSet, maxBytes)
	}
	if strictjson.Depth(data) > limits.JSONDepth {
		return nil, nil, fmt.Errorf("%w: nested deeper than %d", ErrSet, limits.JSONDepth)
	}
	set, err := object(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrSet, err)
	}
	var entries []json.RawMessage
	if json.Unmarshal(set["keys"], &entries) != nil {
		return nil, nil, fmt.Errorf("%w: keys: must be an array", ErrSet)
	}
	if len(entries) > maxKeys {
		return nil, nil, fmt.Errorf("%w: keys: %d, at most %d", ErrSet, len(entries), maxKeys)
	}
	keys = Keys{}
	for i, entry := range entries {
		members, err := object(entry)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: keys[%d]: %w", ErrSet, i, err)
		}
		key, err := read(members)
		switch {
		case err != nil:
			passed = append(passed, fmt.Sprintf("keys[%d] %s: %v", i, strictjson.Shown(key.ID), err))
		case keys[key.ID] != nil:
			return nil, nil, fmt.Errorf("%w: keys[%d]: the id %s is given twice", ErrSet, i, strictjson.Shown(key.ID))
		default:
			keys[key.ID] = key
		}
	}
	if len(keys) == 0 {
		return nil, passed, fmt.Errorf("%w: it holds no key that tokens can be checked with", ErrSet)
	}
	return keys, passed, nil
}

func object(data []byte) (map[string]json.RawMessage, error) {
	list, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	members := make(map[string]json.RawMessage, len(list))
	for _, m := range list {
		members[m.Name] = m.Value
	}
	return members, nil
}

// read reads one key. The error says why it is passed over; there is a Key,
// perhaps with an id, even then.
func read(members map[string]json.RawMessage) (*Key, error) {
	key := new(Key)
	texts := map[string]*string{"kid": &key.ID, "use": new(string), "kty": new(string), "alg": new(string)}
	for name, to := range texts {
		if value, ok := members[name]; ok && json.Unmarshal(value, to) != nil {
			return key, fmt.Errorf("%s: must be a string", name)
		}
	}
	var operations []string
	if value, ok := members["key_ops"]; ok && json.Unmarshal(value, &operations) != nil {
		return key, errors.New("key_ops: must be an array of strings")
	}
	switch use, kty := *texts["use"], *texts["kty"]; {
	case use != "" && use != "sig":
		return key, errors.New("not for signatures")
	case len(operations) > 0 && !slices.Contains(operations, "verify"):
		return key, errors.New("not for checking signatures")
	case kty != "OKP" && kty != "EC" && kty != "RSA":
		return key, errors.New("of a type that is not used here")
	case key.ID == "" || len(key.ID) > maxKeyID:
		return key, fmt.Errorf("kid: must be 1 to %d bytes", maxKeyID)
	case members["d"] != nil:
		return key, errors.New("a private key, which everybody can read now")
	}
	if err := key.material(members); err != nil {
		return key, err
	}
	return key, key.narrow(*texts["alg"])
}

// material reads the numbers of a key. Nothing else of it reaches the parser:
// certificates and addresses of certificates say nothing that is used here.
func (k *Key) material(members map[string]json.RawMessage) error {
	bare := map[string]json.RawMessage{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if value, ok := members[name]; ok {
			bare[name] = value
		}
	}
	data, err := json.Marshal(bare)
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(data); err != nil {
		return err
	}
	switch public := parsed.Key.(type) {
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("Ed25519 key of %d bytes", len(public))
		}
		k.algorithms = []string{"EdDSA"}
	case *ecdsa.PublicKey:
		k.algorithms = map[elliptic.Curve][]string{
			elliptic.P256(): {"ES256"}, elliptic.P384(): {"ES384"}, elliptic.P521(): {"ES512"},
		}[public.Curve]
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < rsaMinBits || bits > rsaMaxBits {
			return fmt.Errorf("RSA key of %d bits, must be %d to %d", bits, rsaMinBits, rsaMaxBits)
		}
		if public.E < 3 || public.E&1 == 0 || public.E > 1<<31-1 || public.N.Bit(0) == 0 {
			return errors.New("RSA key with an exponent or modulus that cannot be")
		}
		k.algorithms = rsaAlgorithms()
	default:
		return errors.New("of a type that is not used here")
	}
	k.Public = parsed.Key
	return nil
}

// narrow holds the key to the algorithm that it was published for.
func (k *Key) narrow(algorithm string) error {
	if algorithm == "Ed25519" { // RFC 9864's name; tokens still say EdDSA
		algorithm = "EdDSA"
	}
	switch {
	case algorithm == "":
		return nil
	case !k.Fits(algorithm):
		return fmt.Errorf("alg: %s does not fit the key, or is not used here", strictjson.Shown(algorithm))
	}
	k.algorithms = []string{algorithm}
	return nil
}

// adopt puts the old keys in place of those that say the same.
func (keys Keys) adopt(old Keys) {
	for id, key := range keys {
		if before := old[id]; before != nil && before.same(key) {
			keys[id] = before
		}
	}
}
